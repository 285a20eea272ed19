// What all pages do where scripts run: times of the viewer's zone, and the theme.
const root = document.documentElement;

// Times come in UTC; the viewer wants the time of the place, as the page's language writes it.
const clock = new Intl.DateTimeFormat(root.lang, {
  month: "short", day: "numeric", hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23",
});
export function localize(part) {
  for (const time of part.querySelectorAll("time")) {
    const at = new Date(time.dateTime);
    time.textContent = clock.format(at);
    time.title = at.toLocaleString(root.lang, { dateStyle: "full", timeStyle: "long" });
  }
}

const themes = document.querySelectorAll("[data-theme-is]");
function showTheme() {
  for (const button of themes) {
    button.setAttribute("aria-pressed", String(button.dataset.themeIs === (root.dataset.theme ?? "auto")));
  }
}

// dress lets the viewer choose the theme, and calls changed when it is another one.
export function dress(changed = () => {}) {
  for (const button of themes) {
    button.addEventListener("click", () => {
      const theme = button.dataset.themeIs;
      if (theme === "auto") delete root.dataset.theme;
      else root.dataset.theme = theme;
      try {
        localStorage.setItem("ai-gateway-theme", theme);
      } catch {
        // No storage: the choice lasts as long as the page.
      }
      showTheme();
      changed();
    });
  }
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", changed);
  showTheme();
}
