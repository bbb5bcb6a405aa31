function paretoChart(host, rows, state) {
  const tokens = rows.map((row) => Math.max(row.tokens, 1));
  const label = () => "Accuracy against tokens a question: " + rows.filter((row) => row.on_front)
    .map((row) => `${row.strategy} ${percent(row.accuracy)} for ${count(row.tokens)} tokens`).join("; ");
  return chart(host, (width) => (width < 520 ? 340 : 420), label, (picture, width, height) => {
    const low = Math.min(...rows.map((row) => row.accuracy_low)), high = Math.max(...rows.map((row) => row.accuracy_high));
    const from = Math.min(...tokens), to = Math.max(...tokens);
    const area = axes(picture, width, height,
      { from: from / 1.25, to: Math.max(to * 1.35, from * 2), log: true, text: count, title: "tokens sampled a question (logarithmic)" },
      { from: Math.max(0, low - 0.02), to: Math.min(1 + (high - low) / 12, high + 0.03), text: (value) => percent(value, 0), title: "" });
    const xy = (row, i) => [area.across(tokens[i]), area.up(row.accuracy)];
    const front = rows.map((row, i) => [row, i]).filter(([row]) => row.on_front).sort((a, b) => tokens[a[1]] - tokens[b[1]]);
    const stairs = front.flatMap(([row, i], k) => {
      const [x, y] = xy(row, i);
      return k ? [[x, xy(...front[k - 1])[1]], [x, y]] : [[x, y]];
    });
    if (stairs.length) picture.append(line([...stairs, [area.right, stairs.at(-1)[1]]], "front"));
    const order = rows.map((_, i) => i).sort((a, b) => weight(a) - weight(b));
    function weight(i) { return (i === state.focus ? 2 : 0) + (rows[i].on_front ? 1 : 0); }
    for (const i of order) picture.append(dot(rows[i], i, xy(rows[i], i), area, state));
    const taken = order.map((i) => { const [x, y] = xy(rows[i], i); return [x - 6, y - 6, 12, 12]; });
    const room = width < 520 ? 20 : 34;
    for (const i of order.reverse()) {
      const text = place(clip(rows[i].strategy, room), ...xy(rows[i], i), taken, area);
      if (text) {
        text.classList.toggle("faint", !rows[i].on_front && i !== state.focus);
        text.classList.toggle("strong", i === state.focus);
        picture.append(text);
      }
    }
  });
}

function dot(row, i, [x, y], area, state) {
  const names = ["dot", row.on_front ? "best" : "", i === state.focus ? "chosen" : ""].join(" ");
  const group = shape("g", { class: names },
    shape("line", { x1: x, x2: x, y1: area.up(row.accuracy_low), y2: area.up(row.accuracy_high) }),
    shape("circle", { cx: x, cy: y, r: i === state.focus ? 7 : row.on_front ? 5.5 : 4 }),
    shape("circle", { class: "target", cx: x, cy: y, r: 13 }));
  group.addEventListener("click", () => state.setFocus(i));
  group.addEventListener("mousemove", (event) => tip.show(event.clientX, event.clientY, [row.strategy,
    `${percent(row.accuracy)} right (${percent(row.accuracy_low)} to ${percent(row.accuracy_high)})`,
    `${count(row.tokens)} tokens a question, ${count(row.samples)} branches`,
    row.difference === null ? "" : `${points(row.difference)} points against ${row.baseline}, ${significance(row.p_value)}`].filter(Boolean)));
  group.addEventListener("mouseleave", tip.hide);
  return group;
}

const kinds = [["pass", "any right (pass@k)"], ["weighted", "weighted vote"], ["majority", "majority vote"], ["best", "best-scored"]];

function curveChart(host, curves, state) {
  const label = () => "Accuracy against the number of samples";
  return chart(host, 320, label, (picture, width, height) => {
    const curve = curves[state.pool];
    const ks = curve.pass.map((_, i) => i + 1);
    const all = kinds.flatMap(([kind]) => curve[kind]);
    const area = axes(picture, width, height,
      { from: 1, to: Math.max(2, curve.samples), ticks: doublings(curve.samples), log: true, text: count, title: "samples a question" },
      { from: Math.max(0, Math.min(...all) - 0.03), to: Math.min(1.01, Math.max(...all) + 0.03), text: (value) => percent(value, 0), title: "" });
    for (const [kind] of kinds) picture.append(line(curve[kind].map((value, i) => [area.across(ks[i]), area.up(value)]), "curve " + kind));
    crosshair(picture, area, ks, (at) => [`${ks[at]} ${ks[at] === 1 ? "sample" : "samples"}`,
      ...kinds.map(([kind, name]) => `${name}: ${percent(curve[kind][at])}`)]);
    const legend = element("div", { class: "legend" }, kinds.map(([kind, name]) =>
      element("span", {}, shapeKey(kind), `${name} ${percent(curve[kind].at(-1))}`)));
    host.append(legend);
  });
}

function shapeKey(kind) {
  return shape("svg", { width: 26, height: 10, "aria-hidden": "true" }, shape("path", { class: "curve " + kind, d: "M1 5H25" }));
}

function doublings(most) {
  const found = [];
  for (let k = 1; k < most / 1.3; k *= 2) found.push(k);
  found.push(most);
  return found;
}
