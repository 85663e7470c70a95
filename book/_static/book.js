/* The parts of the sidebar fold; the one that holds this page is open. */
function foldSidebar() {
  for (const caption of document.querySelectorAll("nav.bd-links p.caption")) {
    const part = caption.nextElementSibling;
    if (!part) continue;
    const set = (open) => {
      part.hidden = !open;
      caption.setAttribute("aria-expanded", open);
    };
    const turn = () => set(part.hidden);
    caption.setAttribute("role", "button");
    caption.tabIndex = 0;
    caption.addEventListener("click", turn);
    caption.addEventListener("keydown", (event) => {
      if (event.key === "Enter" || event.key === " ") {
        event.preventDefault();
        turn();
      }
    });
    set(part.classList.contains("current"));
  }
}

/* A page opened as a file may not read others: search shows titles, without excerpts. */
function searchFromFile() {
  if (location.protocol === "file:" && typeof DOCUMENTATION_OPTIONS !== "undefined") {
    DOCUMENTATION_OPTIONS.SHOW_SEARCH_SUMMARY = false;
  }
}

document.addEventListener("DOMContentLoaded", foldSidebar);
searchFromFile();
