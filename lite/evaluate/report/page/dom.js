// Elements are only ever given text, never markup: what a log holds stays text.
function element(name, attributes, ...children) {
  return filled(document.createElement(name), attributes, children);
}

function shape(name, attributes, ...children) {
  return filled(document.createElementNS("http://www.w3.org/2000/svg", name), attributes, children);
}

function filled(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes || {})) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (value !== null && value !== undefined && value !== false) node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== ""));
  return node;
}

function byId(id) {
  return document.getElementById(id);
}

const tip = {
  show(x, y, lines) {
    const box = byId("tip");
    box.replaceChildren(...lines.map((line, i) => element(i ? "div" : "b", {}, line)));
    box.hidden = false;
    const width = box.offsetWidth, height = box.offsetHeight;
    const left = Math.min(x + 14, document.documentElement.clientWidth - width - 6);
    const top = y + 16 + height > window.innerHeight ? y - height - 12 : y + 16;
    box.style.left = Math.max(6, left) + "px";
    box.style.top = Math.max(6, top) + "px";
  },
  hide() {
    byId("tip").hidden = true;
  },
};
