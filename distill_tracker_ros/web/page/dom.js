/** Elements and texts. Texts of others become text nodes, never HTML. */

/** The element with this id. */
export const byId = (id) => document.getElementById(id);

/** A new element with these properties; strings among its children become text. */
export function element(name, properties = {}, ...children) {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children);
  return made;
}

/** Change a text only if it is another one: layout costs. */
export function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

/** A share as whole percent. */
export const percent = (share) => `${Math.round(100 * share)} %`;
