// The buttons by which people decide about an instance: each asks first, then posts to
// the admin API, which takes it from this page's own origin alone.
const dialog = document.getElementById("decide");
const ask = document.getElementById("decide-ask");
const yes = document.getElementById("decide-yes");
const no = document.getElementById("decide-no");
const error = document.getElementById("decide-error");
let wanted = null; // { id, what }

function say(text) {
  error.hidden = !text;
  error.textContent = text ? `${error.dataset.say}: ${text}` : "";
}

document.addEventListener("click", (event) => {
  const button = event.target.closest("[data-do]");
  if (!button) return;
  wanted = { id: button.parentElement.dataset.id, what: button.dataset.do };
  ask.textContent = button.dataset.ask;
  yes.textContent = button.textContent;
  say("");
  dialog.showModal();
  no.focus();
});

no.addEventListener("click", () => dialog.close());

yes.addEventListener("click", async () => {
  const { steer, query } = document.body.dataset;
  yes.disabled = true;
  try {
    const answer = await fetch(`${steer}${encodeURIComponent(wanted.id)}/${wanted.what}${query}`, { method: "POST" });
    if (answer.ok) {
      dialog.close();
      return;
    }
    const problem = await answer.json().catch(() => ({}));
    say(problem.error ?? `${answer.status} ${answer.statusText}`);
  } catch (cause) {
    say(cause.message);
  } finally {
    yes.disabled = false;
  }
});
