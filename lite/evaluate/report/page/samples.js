// A question's samples side by side: their tokens shaded, where each was stopped, what was forked and routed.
const reasons = { eos: "ended", stop: "stop string", length: "length limit", cancelled: "stopped", budget: "budget spent", failed: "failed", withheld: "withheld" };

function samplesOf(question, answer, data, metric, all) {
  const own = answer ? answer.candidates.filter((one) => one[0] !== null) : [];
  const judged = new Map(own.map((one) => [one[0], one]));
  const list = [...judged.keys()];
  const add = (i) => { if (!list.includes(i)) list.push(i); };
  question.branches.forEach((branch, i) => { if (all || (answer && branch.strategy === answer.strategy)) add(i); });
  for (const i of [...list]) for (let at = i; at !== undefined && at !== null; at = question.branches[at].parent) add(at);
  const shades = shading(question, list, metric);
  scaleOf(question, metric, shades);
  if (!list.length) return element("p", { class: "empty" }, "The log holds no sample of this strategy here.");
  return element("div", { class: "cards", role: "list", "aria-label": "Samples" },
    list.map((i) => sampleCard(question, i, judged.get(i), answer, data, shades)));
}

function sampleCard(question, i, judged, answer, data, shades) {
  const branch = question.branches[i];
  const value = judged ? judged[1] : branch.value, right = judged ? judged[2] : branch.right;
  const until = judged ? judged[5] : branch.tokens;
  const name = branch.greedy ? "greedy" : "sample " + branch.sample;
  const verdict = value === null ? "none" : right ? "right" : "wrong";
  const agrees = answer && value !== null && value === answer.value;
  const chips = [
    branch.sampler ? ["routed", "→ " + branch.sampler, "answered by another sampler"] : null,
    branch.parent !== undefined ? ["", `↳ from ${forkOf(question, branch)}`, "goes on from another branch's tokens"] : null,
    judged ? null : ["", "no vote", answer ? "not among this strategy's candidates" : ""],
    until < branch.tokens ? ["stopped", `used ${count(until)} of ${count(branch.tokens)} tokens`, "what comes after was not looked at"] : ["", `${count(branch.tokens)} tokens`, ""],
    ["", reasons[judged ? judged[6] : branch.reason] || branch.reason, "how it ended"],
    judged && judged[3] !== null ? ["", "score " + Number(judged[3].toPrecision(4)), "the strategy's own"] : null,
    judged && judged[4] ? ["", `${Number(judged[4].toPrecision(3))} ${judged[4] === 1 ? "vote" : "votes"}`, "what it gave to its answer"] : null,
  ].filter(Boolean);
  const detail = element("p", { class: "detail", "aria-live": "polite" }, "← → through the tokens");
  return element("article", { class: ["card", verdict, agrees ? "agrees" : ""].join(" "), role: "listitem" },
    element("header", {}, element("span", { class: "name" }, name),
      element("strong", { class: "value " + verdict, title: value || "" }, value === null ? "no answer" : `${clip(value, 40)} ${right ? "✓" : "✗"}`)),
    element("p", { class: "chips" }, chips.map(([names, text, title]) => element("span", { class: names, title }, text))),
    tokensOf(question, branch, until, name, shades, detail), detail);
}

function forkOf(question, branch) {
  const parent = question.branches[branch.parent];
  return (parent ? (parent.greedy ? "greedy" : "sample " + parent.sample) : "?") + ` at ${branch.at}`;
}

function tokensOf(question, branch, until, name, shades, detail) {
  const half = Math.floor(branch.texts.length / 2), gap = branch.tokens - branch.texts.length;
  const levels = shades.levels(branch);
  const box = element("div", { class: "tokens", tabindex: "0", role: "group", "aria-label": `Tokens of ${name}` });
  if (branch.prefix) box.append(element("span", { class: "forced", title: "the model was made to say this" }, branch.prefix));
  branch.texts.forEach((text, i) => {
    const position = gap && i >= half ? i + gap : i;
    if (gap && i === half) box.append(element("span", { class: "gap" }, `… ${count(gap)} tokens left out …`));
    if (position === until || (gap && i === half && until > half && until <= half + gap)) box.append(element("span", { class: "stop" }, "■ stopped here"));
    const token = element("span", { class: position >= until ? "t after" : "t", "data-i": i }, text === "" ? "·" : text.includes("\n") && !text.trim() ? "↵" + text : text);
    if (text === "") token.classList.add("mute");
    if (levels) token.style.setProperty("--u", shades.shade(levels[i]));
    box.append(token);
  });
  pointed(box, (i) => tokenLines(question, branch, i, gap && i >= half ? i + gap : i), detail);
  return box;
}

function pointed(box, tell, detail) {
  let at = -1;
  const choose = (i) => {
    const tokens = box.querySelectorAll(".t");
    if (!tokens.length) return;
    if (at >= 0) tokens[at].classList.remove("at");
    at = Math.max(0, Math.min(tokens.length - 1, i));
    tokens[at].classList.add("at");
    box.scrollTop += Math.max(0, tokens[at].offsetTop + 24 - box.scrollTop - box.clientHeight) - Math.max(0, box.scrollTop - tokens[at].offsetTop);
    detail.textContent = tell(at).join(" · ");
  };
  box.addEventListener("keydown", (event) => {
    const to = { ArrowRight: at + 1, ArrowLeft: at - 1, Home: 0, End: 1e9 }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    choose(to);
  });
  box.addEventListener("click", (event) => {
    const token = event.target.closest(".t");
    if (token) choose(Number(token.dataset.i));
  });
  box.addEventListener("mousemove", (event) => {
    const token = event.target.closest(".t");
    if (token) tip.show(event.clientX, event.clientY, tell(Number(token.dataset.i)));
    else tip.hide();
  });
  box.addEventListener("mouseleave", tip.hide);
}

function tokenLines(question, branch, i, position) {
  const lines = [`${JSON.stringify(branch.texts[i])}, token ${position}`];
  for (const [kind, title] of [["surprise", "log p"], ["entropy", "entropy"], ["certainty", "certainty"]]) {
    const levels = levelsOf(branch, kind);
    if (levels) lines.push(`${title} ≈ ${(kind === "surprise" ? -1 : 1) * Number(amount(question, kind, levels[i]).toFixed(2))} nats`);
  }
  if (levelsOf(branch, "surprise")) lines.push(`p ≈ ${percent(Math.exp(-amount(question, "surprise", levelsOf(branch, "surprise")[i])), 1)}`);
  return lines;
}

function amount(question, kind, level) {
  const [scale, power] = question.scales[kind];
  return (level / 255) ** power * scale;
}

function levelsOf(branch, kind) {
  if (!branch[kind]) return null;
  branch.read = branch.read || {};
  return (branch.read[kind] = branch.read[kind] || Uint8Array.from(atob(branch[kind]), (letter) => letter.charCodeAt(0)));
}

// From a level to a shade in [0, 1]: the less sure, the darker. Between the question's 2 % and 98 % quantiles, but over
// no less than a quarter of the scale, so that small differences stay small.
function shading(question, list, kind) {
  const counts = new Array(256).fill(0);
  let total = 0;
  for (const i of list) for (const level of levelsOf(question.branches[i], kind) || []) { counts[level]++; total++; }
  const quantile = (share) => {
    let seen = 0;
    return counts.findIndex((amount) => (seen += amount) >= share * total && seen > 0);
  };
  let low = total ? quantile(0.02) : 0, high = total ? quantile(0.98) : 255;
  if (kind === "certainty") low = Math.max(0, Math.min(low, high - 64));
  high = Math.min(255, Math.max(high, low + 64));
  const rise = (level) => Math.max(0, Math.min(1, (level - low) / (high - low)));
  return { low, high, levels: (branch) => levelsOf(branch, kind), shade: (level) => (kind === "certainty" ? 1 - rise(level) : rise(level)).toFixed(2) };
}

function scaleOf(question, kind, shades) {
  const text = (level) => amount(question, kind, level).toFixed(1);
  const ends = kind === "certainty" ? [shades.high, shades.low] : [shades.low, shades.high];
  byId("scale").replaceChildren(...(question.scales[kind] ? [element("span", {}, `sure ${text(ends[0])}`), element("i", { "aria-hidden": "true" }), element("span", {}, `${text(ends[1])} nats, unsure`)] : []));
}
