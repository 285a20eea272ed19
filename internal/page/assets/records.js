// What scripts add to the recordings: times of the viewer's zone, the theme, and "/" to
// search. Without them the pages are whole.
import { dress, localize } from "./common.js";

dress();
localize(document);
document.addEventListener("keydown", (event) => {
  const text = document.getElementById("text");
  if (event.key === "/" && text && !event.ctrlKey && !event.metaKey && !event.target.closest("input, select, textarea")) {
    event.preventDefault();
    text.focus();
  }
});
