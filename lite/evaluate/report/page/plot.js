// A chart redraws at the width that it has, so its letters keep their size on every screen.
function chart(host, height, label, draw) {
  let width = 0;
  const redraw = () => {
    width = Math.max(240, Math.floor(host.clientWidth));
    const tall = typeof height === "function" ? height(width) : height;
    const picture = shape("svg", { width, height: tall, viewBox: `0 0 ${width} ${tall}`, role: "img", "aria-label": label() });
    host.replaceChildren(picture);
    draw(picture, width, tall);
  };
  new ResizeObserver(() => {
    if (Math.abs(host.clientWidth - width) > 1) redraw();
  }).observe(host);
  redraw();
  return redraw;
}

function linear(from, to, low, high) {
  const scale = (value) => low + ((value - from) / (to - from || 1)) * (high - low);
  scale.ticks = steps(from, to, Math.abs(high - low) > 420 ? 7 : 5);
  return scale;
}

function logarithmic(from, to, low, high) {
  const a = Math.log(from), b = Math.log(to);
  const scale = (value) => low + ((Math.log(value) - a) / (b - a || 1)) * (high - low);
  const all = [];
  for (let power = Math.floor(Math.log10(from)); power <= Math.ceil(Math.log10(to)); power++)
    for (const digit of [1, 2, 5]) all.push(digit * 10 ** power);
  const within = all.filter((value) => value >= from * 0.999 && value <= to * 1.001);
  const room = Math.max(2, Math.floor(Math.abs(high - low) / 55));
  const every = Math.ceil(within.length / room);
  scale.ticks = within.filter((_, i) => i % every === 0);
  return scale;
}

function steps(from, to, most) {
  const rough = (to - from) / most || 1;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((digit) => digit * power).find((one) => one >= rough * 0.999);
  const found = [];
  for (let value = Math.ceil(from / step - 1e-9) * step; value <= to + step * 1e-9; value += step) found.push(Number(value.toPrecision(12)));
  return found;
}

// Axes, grid and titles inside margins; `x` and `y` are {from, to, text, title, log}.
function axes(picture, width, height, x, y) {
  const left = 48, right = width - 22, top = 14, bottom = height - 44;
  const across = (x.log ? logarithmic : linear)(x.from, x.to, left, right);
  const up = linear(y.from, y.to, bottom, top);
  const ticks = x.ticks || across.ticks;
  for (const value of up.ticks) {
    picture.append(shape("line", { class: "grid", x1: left, x2: right, y1: up(value), y2: up(value) }));
    picture.append(shape("text", { class: "tick end", x: left - 7, y: up(value) + 4 }, y.text(value)));
  }
  for (const value of ticks) {
    picture.append(shape("line", { class: "grid", x1: across(value), x2: across(value), y1: top, y2: bottom }));
    picture.append(shape("text", { class: "tick middle", x: across(value), y: bottom + 17 }, x.text(value)));
  }
  picture.append(shape("line", { class: "axis", x1: left, x2: right, y1: bottom, y2: bottom }));
  picture.append(shape("text", { class: "title middle", x: (left + right) / 2, y: height - 6 }, x.title));
  if (y.title) picture.append(shape("text", { class: "title", x: 0, y: 10 }, y.title));
  return { across, up, left, right, top, bottom };
}

function line(points, names) {
  return shape("path", { class: names, d: points.map(([x, y], i) => `${i ? "L" : "M"}${x.toFixed(1)} ${y.toFixed(1)}`).join("") });
}

// The first place beside a point where its label meets no other; null where there is none.
function place(label, x, y, taken, area) {
  const width = 6.6 * [...label].length + 4, height = 15;
  const places = [[x + 10, y - 7], [x - 10 - width, y - 7], [x - width / 2, y - 24], [x - width / 2, y + 10], [x + 9, y - 22], [x + 9, y + 8], [x - 9 - width, y - 22], [x - 9 - width, y + 8]];
  const free = places.find(([left, top]) =>
    left >= area.left - 4 && left + width <= area.right + 8 && top >= 0 && top + height <= area.bottom &&
    taken.every((box) => left + width < box[0] || left > box[0] + box[2] || top + height < box[1] || top > box[1] + box[3]));
  if (!free) return null;
  taken.push([free[0], free[1], width, height]);
  return shape("text", { class: "mark", x: free[0] + 2, y: free[1] + 12 }, label);
}

// Values of several lines at the nearest x: by mouse, and by the arrow keys once the chart has the focus.
function crosshair(picture, area, xs, tell) {
  const rule = shape("line", { class: "rule", y1: area.top, y2: area.bottom, visibility: "hidden" });
  picture.append(rule);
  picture.setAttribute("tabindex", "0");
  let at = -1;
  const show = (index) => {
    at = Math.max(0, Math.min(xs.length - 1, index));
    const x = area.across(xs[at]);
    rule.setAttribute("x1", x);
    rule.setAttribute("x2", x);
    rule.setAttribute("visibility", "visible");
    const box = picture.getBoundingClientRect();
    tip.show(box.left + x, box.top + area.top + 20, tell(at));
  };
  const hide = () => {
    rule.setAttribute("visibility", "hidden");
    tip.hide();
  };
  picture.addEventListener("mousemove", (event) => {
    const x = event.clientX - picture.getBoundingClientRect().left;
    show(xs.reduce((best, value, i) => (Math.abs(area.across(value) - x) < Math.abs(area.across(xs[best]) - x) ? i : best), 0));
  });
  picture.addEventListener("mouseleave", hide);
  picture.addEventListener("blur", hide);
  picture.addEventListener("keydown", (event) => {
    if (event.key !== "ArrowLeft" && event.key !== "ArrowRight") return;
    event.preventDefault();
    show(event.key === "ArrowLeft" ? at - 1 : at + 1);
  });
}
