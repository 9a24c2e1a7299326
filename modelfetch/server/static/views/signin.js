/** Where the token is asked for, when there is none or the server does not take it. */

import { setText, show } from "../dom.js";

/**
 * The sign-in page.
 * @param {HTMLElement} root
 * @param {(token: string) => void} enter
 */
export function signIn(root, enter) {
  const form = root.querySelector("form");
  const input = root.querySelector("input");
  const problem = root.querySelector(".problem");
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    // The whole line that the server prints is as good as the token in it.
    const value = input.value.trim().replace(/^.*#token=/, "");
    if (value) enter(value);
    else input.focus();
  });
  return {
    /** @param {Error | null} error what the server said, or null where it was not asked */
    open(error) {
      document.body.classList.add("signed-out");
      document.getElementById("panel").hidden = true;
      document.querySelector("dialog[open]")?.close();
      setText(
        problem,
        error ? "The server does not take this token. It gets a new one each time it is started." : "",
      );
      show(problem, Boolean(error));
      show(root, true);
      input.value = "";
      input.focus();
    },
    close() {
      document.body.classList.remove("signed-out");
      show(root, false);
    },
  };
}
