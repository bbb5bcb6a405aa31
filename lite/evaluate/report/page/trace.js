// Which question is looked at, and how its vote grew; the samples themselves are in samples.js.
const filters = [
  ["all", "all", () => true],
  ["split", "strategies disagree", (marks) => marks.includes("0") && marks.includes("1")],
  ["wrong", "this strategy is wrong", (marks, focus) => marks[focus] === "0"],
  ["right", "this strategy is right", (marks, focus) => marks[focus] === "1"],
  ["lost", "all are wrong", (marks) => !marks.includes("1")],
];

function traceViewer(data, state) {
  const picked = byId("question"), filter = byId("filter");
  const there = data.questions.filter(([id]) => id in data.traces);
  let shown = there, turn = 0;
  const list = () => {
    const test = filters.find(([name]) => name === filter.value)[2];
    shown = there.filter(([, , marks]) => test(marks, state.focus));
    const kept = picked.value;
    picked.replaceChildren(...shown.map(([id, text, marks]) =>
      element("option", { value: id, selected: id === kept }, `${sign(marks[state.focus])} ${id}: ${text}`)));
    picked.disabled = !shown.length;
    draw();
  };
  const draw = async () => {
    const own = ++turn, id = picked.value, host = byId("trace");
    if (!id) return host.replaceChildren(element("p", { class: "empty" }, "No question is like this."));
    const question = await unpacked(data.traces[id]);
    if (own !== turn) return;
    const answer = question.answers.find((one) => one.strategy === state.focus);
    offered(question);
    host.replaceChildren(...[asked(id, question, answer), answer && ballot(question, answer), samplesOf(question, answer, data, byId("metric").value, byId("all").checked)].filter(Boolean));
    if (answer) growth(host, question, answer);
  };
  const move = (by) => {
    const at = shown.findIndex(([id]) => id === picked.value) + by;
    if (at < 0 || at >= shown.length) return;
    picked.value = shown[at][0];
    draw();
  };
  filter.append(...filters.map(([name, title]) => element("option", { value: name }, title)));
  filter.addEventListener("change", list);
  picked.addEventListener("change", draw);
  byId("metric").addEventListener("change", draw);
  byId("all").addEventListener("change", draw);
  byId("previous").addEventListener("click", () => move(-1));
  byId("next").addEventListener("click", () => move(1));
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest("select, input, textarea")) return;
    if (event.key === "n" || event.key === "p") move(event.key === "n" ? 1 : -1);
  });
  list();
  return list;
}

async function unpacked(text) {
  const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  return JSON.parse(await new Response(stream).text());
}

function sign(mark) {
  return mark === "1" ? "✓" : mark === "0" ? "✗" : "·";
}

function offered(question) {
  const titles = { certainty: "certainty", entropy: "entropy", surprise: "surprise (−log p)" };
  const select = byId("metric"), kept = select.value;
  const told = Object.keys(titles).filter((name) => question.branches.some((branch) => branch[name]));
  if (select.options.length === told.length && told.includes(kept)) return;
  select.replaceChildren(...told.map((name) => element("option", { value: name, selected: name === kept }, titles[name])));
  select.disabled = !told.length;
}

function asked(id, question, answer) {
  const letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZ";
  return element("div", { class: "asked" },
    element("p", { class: "text" }, question.text),
    question.choices.length ? element("ol", { class: "choices" }, question.choices.map((choice, i) => element("li", {}, `(${letters[i]}) ${choice}`))) : null,
    element("dl", {}, ...pair("question", id), ...pair("right answer", question.answer),
      ...(answer ? given(answer) : pair("this strategy", "was not asked"))));
}

function given(answer) {
  if (answer.error) return pair("error", answer.error, "wrong");
  const value = answer.value === null ? "none" : answer.value;
  return [...pair("its answer", `${value} ${sign(answer.right ? "1" : "0")}`, answer.right ? "right" : "wrong"),
    ...pair("confidence", percent(answer.confidence, 0)),
    ...pair("tokens", count(answer.tokens) + (answer.discarded ? ` and ${count(answer.discarded)} discarded` : ""))];
}

function pair(name, value, names) {
  return [element("dt", {}, name), element("dd", { class: names }, value)];
}

function ballot(question, answer) {
  return answer.candidates.length > 1 ? element("figure", { class: "growth" },
    element("figcaption", {}, "How the vote grew, shortest sample first"), element("div", { class: "chart", id: "growth" })) : null;
}

function growth(host, question, answer) {
  const box = host.querySelector("#growth");
  if (!box) return;
  const order = answer.candidates.map((one, i) => [one, i]).sort((a, b) => a[0][5] - b[0][5] || a[1] - b[1]).map(([one]) => one);
  const sums = new Map();
  order.forEach(([, value, right, , votes], step) => {
    if (value === null) return;
    const own = sums.get(value) || { value, right, votes: new Array(order.length + 1).fill(0) };
    for (let i = step + 1; i <= order.length; i++) own.votes[i] += votes;
    sums.set(value, own);
  });
  const told = [...sums.values()].sort((a, b) => b.votes.at(-1) - a.votes.at(-1)).slice(0, 8);
  const most = Math.max(0, ...told.map((one) => one.votes.at(-1)));
  if (!most) return box.replaceChildren(element("p", { class: "empty" }, "Nobody voted: the answer was picked by score, or no sample held one."));
  chart(box, 210, () => "Votes by answer: " + told.map((one) => `${one.value} ${one.votes.at(-1).toPrecision(3)}`).join(", "), (picture, width, height) => {
    const margin = Math.min(170, width * 0.3);
    const area = axes(picture, width - margin, height, { from: 0, to: order.length, text: count, title: "samples finished" },
      { from: 0, to: most, text: (value) => Number(value.toPrecision(3)).toString(), title: "" });
    let free = height;
    const labels = [];
    told.slice().reverse().forEach((one) => {
      const names = one.right ? "good" : one.value === answer.value ? "bad" : "other";
      picture.append(line(one.votes.flatMap((votes, i) => (i ? [[area.across(i), area.up(one.votes[i - 1])], [area.across(i), area.up(votes)]] : [[area.across(0), area.up(votes)]])), "vote " + names));
      const y = Math.min(area.up(one.votes.at(-1)) + 4, free - 14);
      free = y;
      labels.push([y, names, `${sign(one.right ? "1" : "0")} ${clip(one.value, Math.floor(margin / 9))} (${Number(one.votes.at(-1).toPrecision(3))})`]);
    });
    for (const [y, names, text] of labels) if (y > 6) picture.append(shape("text", { class: "vote-name is-" + names, x: area.right + 8, y }, text));
  });
}
