const columns = [
  { key: "strategy", title: "strategy", text: (row) => row.strategy },
  { key: "accuracy", title: "accuracy", help: "with its 95 % interval (Wilson)", text: (row) => percent(row.accuracy) },
  { key: "tokens", title: "tokens", help: "sampled a question, discarded ones included", text: (row) => count(row.tokens) },
  { key: "samples", title: "branches", help: "drawn a question", text: (row) => count(row.samples) },
  { key: "difference", title: "against baseline", help: "points of accuracy, 95 % paired bootstrap", text: (row) => row.difference === null ? missing : `${points(row.difference)} (${points(row.difference_low)} … ${points(row.difference_high)})` },
  { key: "p_value", title: "p", help: "exact McNemar test, two-sided", text: (row) => chance(row.p_value) },
  { key: "tokens_per_correct", title: "tokens / right", help: "tokens sampled for each right answer", text: (row) => count(row.tokens_per_correct) },
  { key: "discarded_share", title: "discarded", help: "share of the tokens drawn past a decision", text: (row) => percent(row.discarded_share) },
  { key: "seconds", title: "time", help: "mean time to the answer, as it ran beside the others", text: (row) => duration(row.seconds) },
  { key: "remote_calls", title: "remote calls", help: "a question", text: (row) => number(row.remote_calls) },
  { key: "money", title: "cost", help: "a question", text: (row) => number(row.money, 5) },
  { key: "confidence_auroc", title: "AUROC", help: "of the answers' confidence", text: (row) => number(row.confidence_auroc) },
  { key: "confidence_ece", title: "ECE", help: "expected calibration error of the confidence", text: (row) => percent(row.confidence_ece) },
  { key: "score_auroc", title: "score AUROC", help: "of the samples' scores, within a question", text: (row) => number(row.score_auroc) },
  { key: "unanswered", title: "no answer", help: "questions without an answer", text: (row) => String(row.unanswered) },
  { key: "errors", title: "errors", help: "questions that ended with an error", text: (row) => String(row.errors) },
];

// Shown even where they are 0 everywhere.
const always = new Set(["accuracy", "difference", "unanswered"]);

function figureTable(host, rows, state) {
  const used = columns.filter(({ key }) => key === "strategy" || rows.some((row) => row[key] !== null && (row[key] !== 0 || always.has(key))));
  let sorted = { key: "accuracy", down: true };
  const draw = () => {
    const order = rows.map((_, i) => i).sort((a, b) => compare(rows[a][sorted.key], rows[b][sorted.key], sorted.down) || a - b);
    host.replaceChildren(
      element("thead", {}, element("tr", {}, used.map((column) => heading(column)))),
      element("tbody", {}, order.map((i) => tableRow(rows[i], i))));
  };
  const heading = ({ key, title, help }) => element("th", { scope: "col", "aria-sort": key === sorted.key ? (sorted.down ? "descending" : "ascending") : null, title: help },
    element("button", { type: "button", onclick: () => {
      sorted = { key, down: key === sorted.key ? !sorted.down : key !== "strategy" };
      draw();
      host.querySelector("th[aria-sort] button").focus();
    } }, title, element("span", { "aria-hidden": "true" }, key === sorted.key ? (sorted.down ? " ▾" : " ▴") : "")));
  const tableRow = (row, i) => element("tr", { class: [row.on_front ? "best" : "", i === state.focus ? "chosen" : ""].join(" ") },
    used.map((column) => column.key === "strategy"
      ? element("th", { scope: "row" }, element("button", { type: "button", "aria-pressed": String(i === state.focus), title: row.strategy + (row.on_front ? " (on the Pareto front)" : ""), onclick: () => state.setFocus(i) },
        element("span", { class: "star", "aria-hidden": "true" }, row.on_front ? "★" : ""), row.strategy))
      : element("td", {}, column.text(row), column.key === "accuracy" ? interval(row) : null)));
  draw();
  return draw;
}

function interval(row) {
  const x = (share) => (1 + 58 * share).toFixed(1);
  return shape("svg", { class: "interval", width: 60, height: 14, role: "img", "aria-label": `${percent(row.accuracy_low)} to ${percent(row.accuracy_high)}` },
    shape("line", { class: "track", x1: 1, x2: 59, y1: 7, y2: 7 }),
    shape("line", { class: "span", x1: x(row.accuracy_low), x2: x(row.accuracy_high), y1: 7, y2: 7 }),
    shape("circle", { cx: x(row.accuracy), cy: 7, r: 3.5 }));
}

function compare(a, b, down) {
  if (a === b) return 0;
  if (a === null) return 1;
  if (b === null) return -1;
  return (a < b ? -1 : 1) * (down ? -1 : 1);
}
