/**
 * Making and changing elements. Text only ever becomes a text node, so that no name, error or address from
 * anywhere can become markup; nothing is written that has not changed, so that focus and selection stay.
 */

const SVG = "http://www.w3.org/2000/svg";

/**
 * Make an element.
 * @param {string} tag with classes: `div.card.wide`
 * @param {Record<string, unknown>} [attributes] `text`, `on<Event>` and attributes
 * @param {...(Node | string | null | false)} children
 */
export function h(tag, attributes = {}, ...children) {
  const [name, ...classes] = tag.split(".");
  const element = document.createElement(name);
  if (classes.length) element.className = classes.join(" ");
  return fill(element, attributes, children);
}

/** Make an SVG element. */
export function svg(name, attributes = {}, ...children) {
  return fill(document.createElementNS(SVG, name), attributes, children);
}

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) set(element, name, value);
  element.append(...children.filter((child) => child !== null && child !== false));
  return element;
}

function set(element, name, value) {
  if (name === "text") setText(element, value);
  else if (name.startsWith("on")) element.addEventListener(name.slice(2).toLowerCase(), value);
  else setAttribute(element, name, value);
}

/** Give an element this text and nothing else. */
export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** Give an element an attribute; null and false take it away, true sets it empty. */
export function setAttribute(element, name, value) {
  if (value === null || value === undefined || value === false) element.removeAttribute(name);
  else if (element.getAttribute(name) !== String(value === true ? "" : value)) {
    element.setAttribute(name, value === true ? "" : String(value));
  }
}

/** Show or hide an element. */
export function show(element, isShown) {
  element.toggleAttribute("hidden", !isShown); // SVG elements have no `hidden` property
}

/**
 * Let a parent's children be one part per item, in the items' order; parts are kept by key.
 *
 * The focus stays where it is; where its part is gone it goes to the section around.
 * @template T
 * @param {Element} parent
 * @param {T[]} items
 * @param {(item: T) => string} keyOf
 * @param {(item: T) => {element: Element, update: (item: T) => void}} create
 */
export function reconcile(parent, items, keyOf, create) {
  const old = parts.get(parent) ?? new Map();
  const now = new Map(items.map((item) => [keyOf(item), old.get(keyOf(item)) ?? create(item)]));
  parts.set(parent, now);
  for (const item of items) now.get(keyOf(item)).update(item);
  const focused = parent.contains(document.activeElement) ? document.activeElement : null;
  for (const [key, part] of old) if (!now.has(key)) part.element.remove();
  place(
    parent,
    [...now.values()].map((part) => part.element),
  );
  if (focused && document.activeElement !== focused) refocus(parent, focused);
}

const parts = new WeakMap();

function place(parent, elements) {
  let next = parent.firstChild;
  for (const element of elements) {
    if (element === next) next = next.nextSibling;
    else parent.insertBefore(element, next);
  }
}

function refocus(parent, focused) {
  const heir = parent.contains(focused) ? focused : parent.closest("[tabindex='-1']");
  heir?.focus({ preventScroll: true });
}

/**
 * Change a list, and let what moved by that glide to its place.
 * @param {Element} list
 * @param {() => void} change
 */
export function glide(list, change) {
  const tops = new Map([...list.children].map((child) => [child, child.getBoundingClientRect().top]));
  const order = [...list.children];
  change();
  // Only where the order is another one; a card that merely grew is no movement.
  if (isCalm() || order.every((child, index) => list.children[index] === child)) return;
  for (const child of list.children) {
    const moved = tops.has(child) ? tops.get(child) - child.getBoundingClientRect().top : 0;
    if (moved)
      child.animate([{ transform: `translateY(${moved}px)` }, {}], { duration: 240, easing: "ease-out" });
    else if (!tops.has(child)) child.animate([{ opacity: 0 }, {}], { duration: 200 });
  }
}

const isCalm = () => matchMedia("(prefers-reduced-motion: reduce)").matches;

/**
 * Copy the text of an element to the clipboard.
 * @returns {Promise<boolean>} whether that was possible; the text is selected where it was not
 */
export async function copyText(element) {
  try {
    await navigator.clipboard.writeText(element.textContent);
    return true;
  } catch {
    // Without TLS, and not on this machine, a page has no clipboard; the old command still works in most browsers.
    getSelection().selectAllChildren(element);
    return document.execCommand("copy");
  }
}

/** A link to a page elsewhere; only a plain text where the address is no web address. */
export function outsideLink(address, text) {
  const isWeb = URL.canParse(address) && /^https?:$/.test(new URL(address).protocol);
  if (!isWeb) return h("span", { text });
  return h("a", { href: address, target: "_blank", rel: "noreferrer noopener", text });
}
