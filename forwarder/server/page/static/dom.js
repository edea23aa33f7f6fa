// Elements are made and changed in place, so that nothing flickers, and text is only ever text.

const SVG = "http://www.w3.org/2000/svg";

export const byId = (id) => document.getElementById(id);

/** Text as it can be seen: what would turn its direction, or move a cursor, is spelled out. */
const HIDDEN = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u200e\u200f\u202a-\u202e\u2066-\u2069]/g;
export const plain = (text) => text.replace(HIDDEN, (c) => `\\u${c.charCodeAt(0).toString(16).padStart(4, "0")}`);

function filled(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children.map((child) => (typeof child === "string" ? plain(child) : child)));
  return node;
}

export const make = (tag, attributes = {}, ...children) => filled(document.createElement(tag), attributes, children);

export const draw = (tag, attributes = {}, ...children) => filled(document.createElementNS(SVG, tag), attributes, children);

export function say(node, said) {
  const text = plain(said);
  if (node.textContent !== text) node.textContent = text;
}

export function mark(node, name, value) {
  if (node.getAttribute(name) !== value) node.setAttribute(name, value);
}

/** Make the children of `parent` those of `items`, in their order; those known by their key stay. */
export function keyed(parent, items, key, create, update) {
  const known = new Map([...parent.children].map((child) => [child.dataset.key, child]));
  let next = parent.firstElementChild;
  for (const item of items) {
    const name = String(key(item));
    let node = known.get(name);
    if (node) {
      known.delete(name);
    } else {
      node = create(item);
      node.dataset.key = name;
    }
    if (node === next) next = next.nextElementSibling;
    else parent.insertBefore(node, next);
    update(node, item);
  }
  for (const node of known.values()) node.remove();
}

/** Terms and what is said of them, in a dl; those that say nothing are left out. */
export function facts(list, pairs) {
  keyed(
    list,
    pairs.filter(([, value]) => value),
    ([term]) => term,
    ([term]) => make("div", {}, make("dt", {}, term), make("dd")),
    (node, [, value, level]) => {
      say(node.lastElementChild, value);
      mark(node, "data-level", level ?? "");
    },
  );
}

const SIGNS = {
  ok: ["M4 12.5l5.5 5.5L20 7"],
  again: ["M19 6v5h-5", "M18.5 11a7 7 0 1 0 .3 4"],
  paused: ["M8 5v14", "M16 5v14"],
  waiting: ["M6 3h12", "M6 21h12", "M7 3c0 5 10 13 10 18", "M17 3c0 5-10 13-10 18"],
  stopped: ["M6 6h12v12H6z"],
  begun: ["M4 12h.01", "M12 12h.01", "M20 12h.01"],
  heed: ["M12 4v10", "M12 19h.01"],
  alarm: ["M7 4v10", "M7 19h.01", "M17 4v10", "M17 19h.01"],
  away: ["M5 5l14 14", "M19 5L5 19"],
};

export function sign(svg, name) {
  if (svg.dataset.sign === name) return;
  svg.dataset.sign = name;
  svg.replaceChildren(...SIGNS[name].map((d) => draw("path", { d })));
}
