function reliabilityChart(host, data, state) {
  const label = () => "Reliability of the confidence of " + data.rows[state.focus].strategy;
  return chart(host, 300, label, (picture, width, height) => {
    const told = data.reliability[state.focus];
    const area = axes(picture, width, height,
      { from: 0, to: 1, ticks: [0, 0.25, 0.5, 0.75, 1], text: (value) => percent(value, 0), title: "confidence" },
      { from: 0, to: 1, text: (value) => percent(value, 0), title: "" });
    picture.append(line([[area.across(0), area.up(0)], [area.across(1), area.up(1)]], "ideal"));
    if (!told) return nothing(picture, area, "no confidence is told");
    const most = Math.max(...told.bins.map((bin) => bin[0]));
    for (const [amount, confidence, accuracy, low, high] of told.bins) {
      const x = area.across(confidence);
      const group = shape("g", { class: "dot best" },
        shape("line", { x1: x, x2: x, y1: area.up(low), y2: area.up(high) }),
        shape("circle", { cx: x, cy: area.up(accuracy), r: 3 + 7 * Math.sqrt(amount / most) }));
      group.addEventListener("mousemove", (event) => tip.show(event.clientX, event.clientY, [`${amount} answers`,
        `confidence ${percent(confidence)}`, `right ${percent(accuracy)} (${percent(low)} to ${percent(high)})`]));
      group.addEventListener("mouseleave", tip.hide);
      picture.append(group);
    }
    const row = data.rows[state.focus];
    picture.append(shape("text", { class: "note end", x: area.right - 4, y: area.bottom - 8 }, `ECE ${percent(row.confidence_ece)}`));
  });
}

function riskChart(host, data, state) {
  const label = () => "Share of wrong answers among the surest, of " + data.rows[state.focus].strategy;
  return chart(host, 300, label, (picture, width, height) => {
    const told = data.reliability[state.focus];
    const others = data.reliability.filter((one, i) => one && i !== state.focus);
    const shown = told ? [told, ...others] : others;
    const most = Math.max(0.1, ...shown.flatMap((one) => one.risks.map((point) => point[1])));
    const area = axes(picture, width, height,
      { from: 0, to: 1, ticks: [0, 0.25, 0.5, 0.75, 1], text: (value) => percent(value, 0), title: "answered, surest first" },
      { from: 0, to: Math.min(1, most * 1.05), text: (value) => percent(value, 0), title: "" });
    const drawn = (one, names) => picture.append(line(one.risks.map(([x, y]) => [area.across(x), area.up(y)]), names));
    for (const one of others) drawn(one, "other");
    if (!told) return nothing(picture, area, "no confidence is told");
    drawn(told, "risk");
    const row = data.rows[state.focus];
    picture.append(shape("text", { class: "note end", x: area.right - 4, y: area.bottom - 8 },
      `wrong among them · AUROC ${number(row.confidence_auroc)}`));
    crosshair(picture, area, told.risks.map((point) => point[0]), (at) => [
      `${percent(told.risks[at][0], 0)} answered`, `${percent(told.risks[at][1])} of these wrong`]);
  });
}

function nothing(picture, area, text) {
  picture.append(shape("text", { class: "note middle", x: (area.left + area.right) / 2, y: (area.top + area.bottom) / 2 }, text));
}
