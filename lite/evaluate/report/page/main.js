const data = JSON.parse(byId("data").textContent);
const rows = data.rows;

function mostAccurate(among) {
  const order = rows.map((_, i) => i).filter((i) => among(rows[i])).sort((a, b) => rows[b].accuracy - rows[a].accuracy || rows[a].tokens - rows[b].tokens);
  return order.length ? order[0] : -1;
}

// One with a vote to look at, where there is one.
function first() {
  const voting = mostAccurate((row) => row.samples > 1);
  return voting >= 0 ? voting : Math.max(0, mostAccurate(() => true));
}

const redraws = [];
const state = {
  focus: first(),
  pool: 0,
  setFocus(i) {
    state.focus = i;
    for (const select of document.querySelectorAll("select.focus")) select.value = String(i);
    for (const redraw of redraws) redraw();
  },
};

function facts() {
  const { model, measured } = data;
  byId("title").textContent = data.title;
  const settings = data.settings.params || {};
  const parts = [data.task, `${count(data.questions.length)} questions`, [model.name, model.engine, model.format].filter(Boolean).join(" "),
    `temperature ${settings.temperature === undefined ? 1 : settings.temperature}`, `seed ${settings.seed || 0}`,
    measured.sampled_tokens ? `${count(measured.sampled_tokens)} tokens in ${duration(measured.seconds)}` : "",
    measured.joules ? `${count(measured.joules)} J` : ""];
  byId("facts").textContent = parts.filter(Boolean).join(" · ");
  byId("footer").textContent = `Answers checked by ${data.checker}. ` + (model.hash ? `Model sha256 ${model.hash.slice(0, 16)}. ` : "") + "Tokens count what was sampled; prompts are apart. Made by lite report.";
}

function headline() {
  const best = rows[mostAccurate(() => true)];
  const enough = rows.filter((row) => row.accuracy >= best.accuracy_low).sort((a, b) => a.tokens - b.tokens)[0];
  const base = rows.find((row) => rows.some((other) => other.baseline === row.strategy));
  const tell = (title, row, more) => element("div", { class: "tile" }, element("span", {}, title), element("b", {}, percent(row.accuracy)),
    element("span", { class: "who" }, row.strategy), element("span", {}, more));
  byId("headline").append(
    tell("most accurate", best, `${percent(best.accuracy_low)} to ${percent(best.accuracy_high)}, ${count(best.tokens)} tokens`),
    enough !== best ? tell("cheapest within its interval", enough, `${count(enough.tokens)} tokens, ${(best.tokens / Math.max(enough.tokens, 1)).toFixed(1)} times fewer`) : "",
    base && base !== best ? tell("baseline", base, best.difference === null ? "" : `${points(best.difference)} points for the best, ${significance(best.p_value)}`) : "",
    ...ceiling());
}

// What a perfect choice among the samples would reach.
function ceiling() {
  if (!data.curves.length) return [];
  const pool = data.curves.reduce((best, one) => (one.samples > best.samples ? one : best));
  return [element("div", { class: "tile" }, element("span", {}, "within reach"), element("b", {}, percent(pool.pass.at(-1))),
    element("span", { class: "who" }, `any of ${pool.samples} samples right`), element("span", {}, `one alone: ${percent(pool.pass[0])}`))];
}

function curves() {
  const pools = data.curves;
  if (!pools.length) {
    byId("curve").append(element("p", { class: "empty" }, "No strategy here votes over whole samples, equally many a question."));
    return;
  }
  byId("pool").append(...pools.map((pool, i) => element("option", { value: i }, clip(`${pool.samples} of ${pool.strategies.join(", ")}`, 60))));
  byId("pool-label").hidden = pools.length < 2;
  state.pool = pools.reduce((best, pool, i) => (pool.samples > pools[best].samples ? i : best), 0);
  byId("pool").value = String(state.pool);
  const redraw = curveChart(byId("curve"), pools, state);
  byId("pool").addEventListener("change", () => {
    state.pool = Number(byId("pool").value);
    redraw();
  });
}

function theme() {
  const order = ["auto", "light", "dark"];
  let at = 0;
  byId("theme").addEventListener("click", () => {
    at = (at + 1) % order.length;
    document.documentElement.dataset.theme = order[at];
    byId("theme").textContent = "Theme: " + order[at];
  });
}

function start() {
  facts();
  theme();
  if (!rows.length) {
    byId("headline").append(element("p", { class: "empty" }, "The log holds no answer yet."));
    for (const section of document.querySelectorAll("main > section:not(.headline), .pair")) section.hidden = true;
    return;
  }
  headline();
  for (const select of document.querySelectorAll("select.focus")) {
    select.append(...rows.map((row, i) => element("option", { value: i }, row.strategy)));
    select.value = String(state.focus);
    select.addEventListener("change", () => state.setFocus(Number(select.value)));
  }
  redraws.push(paretoChart(byId("pareto"), rows, state));
  curves();
  redraws.push(reliabilityChart(byId("reliability"), data, state), riskChart(byId("risk"), data, state), figureTable(byId("table"), rows, state));
  const base = rows.find((row) => row.baseline);
  byId("table-lead").textContent = "★ marks the Pareto front." + (base ? ` The baseline is ${base.baseline}; the comparison is on the same questions.` : "");
  const traced = Object.keys(data.traces).length;
  byId("traces-lead").textContent = "Tokens are shaded by how unsure the model was. Keys: n and p change the question; in a sample, ← and → walk through its tokens." +
    (traced < data.traced_of ? ` This file holds the samples of ${traced} of ${data.traced_of} questions, those first on which strategies disagree.` : "");
  if (traced) redraws.push(traceViewer(data, state));
  else byId("traces").hidden = true;
}

start();
