// Sets the chosen theme before anything is painted.
try {
  const theme = localStorage.getItem("ai-gateway-theme");
  if (theme === "light" || theme === "dark") document.documentElement.dataset.theme = theme;
} catch {
  // No storage: the system's theme it is.
}
