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

/* Cells of tables with words know their column's title, for windows in which a row becomes a block (book.css). */
function stack(table) {
  const titles = [...table.querySelectorAll("thead tr:first-child th")].map((title) => title.textContent.trim());
  if (!titles.some((title) => title)) return;
  table.classList.add("stacked");
  for (const row of table.querySelectorAll("tbody tr")) {
    [...row.cells].forEach((cell, column) => (cell.dataset.title = titles[column] || ""));
  }
}

function stackTables() {
  for (const table of document.querySelectorAll(".bd-content table.table:not(.dataframe)")) stack(table);
}

/* Outputs of cells: coloured tables look like the others, those with words in cells are stacked like the text's, others scroll
   where they are wide, and printed columns stay beside one another (book.css). A number below zero has a minus sign. */
// Letters beyond which a cell of a table holds words, and a printed line a sentence, lines with gaps that make columns, and
// letters of a line that was broken since its next word did not fit.
const WORDS = 16;
const SENTENCE = 40;
const COLUMNS = 3;
const FULL = 85;
const HYPHEN = /(?<![\p{Letter}\p{Number}_.)\]–-])-(?=\d)/gu;

function setMinusSigns() {
  for (const output of document.querySelectorAll(".cell_output :is(pre, td)")) {
    const texts = document.createTreeWalker(output, NodeFilter.SHOW_TEXT);
    while (texts.nextNode()) texts.currentNode.data = texts.currentNode.data.replace(HYPHEN, "−");
  }
}

function layOutOutputs() {
  setMinusSigns();
  for (const table of document.querySelectorAll('.cell_output table[id^="T_"]')) table.classList.add("dataframe");
  for (const table of document.querySelectorAll(".cell_output table.dataframe")) {
    if ([...table.querySelectorAll("td")].some((cell) => cell.textContent.trim().length > WORDS)) stack(table);
    else table.closest(".text_html")?.classList.add("scrolls");
  }
  for (const printed of document.querySelectorAll(".cell_output pre")) {
    const lines = printed.textContent.split("\n");
    const gaps = lines.filter((line) => /\S {3,}\S/.test(line));
    for (const name of ["columns", "scrolls"]) printed.classList.toggle(name, gaps.length >= COLUMNS);
    // the highlighter leaves an empty mark at the start
    const marked = [...printed.children].some((part) => part.textContent);
    if (gaps.length < COLUMNS || marked) continue;
    // beside columns two blanks are a gap, too, where a name is long; sentences wrap, and go on where a line was full, or
    // farther in: a longer line was never broken, and a new item begins where the last one did
    const isRow = (line) => !line.trim() || /\S {2,}\S/.test(line);
    const inset = (line) => line.search(/\S/);
    let [sentence, edge] = [null, 0];
    printed.replaceChildren();
    lines.forEach((line, i) => {
      const whole = i < lines.length - 1 ? `${line}\n` : line;
      const before = sentence ? lines[i - 1].length : Infinity;
      const wasFull = before <= FULL && before + line.trim().split(" ")[0].length >= FULL;
      const goesOn = wasFull && (edge === 0 || inset(line) > edge);
      if (isRow(line) || (!goesOn && line.trim().length <= SENTENCE)) {
        sentence = null;
        printed.append(whole);
        return;
      }
      if (!goesOn) {
        edge = inset(line);
        printed.append((sentence = document.createElement("span")));
      }
      sentence.append(whole);
    });
  }
}

/* A comma stays with the formula before it: to a browser a formula is a box, beside which any line may end. */
function keepCommasWithFormulas() {
  for (const formula of document.querySelectorAll(".bd-content span.math")) {
    const next = formula.nextSibling;
    if (next?.nodeType !== Node.TEXT_NODE || !/^[,.;:?!)]/.test(next.data)) continue;
    const whole = document.createElement("span");
    whole.style.whiteSpace = "nowrap";
    formula.before(whole);
    whole.append(formula, next.data[0]);
    next.data = next.data.slice(1);
  }
}

/* Figures that a phone would shrink until nobody can read them keep a readable width there, and scroll (book.css). */
// Pixels of letters that can be read, of a point in a figure as it is saved, points of a figure's smallest letters where its
// class does not say, and pixels that every phone has for a figure.
const READABLE = 9;
const POINT = 120 / 72;
const SMALL = 8;
const NARROW = 300;

function keepFiguresReadable() {
  for (const image of document.querySelectorAll(".bd-content :is(figure, .cell_output) img")) {
    if (image.closest(".jupyter-widgets")) continue;
    const mark = () => {
      const said = image.className.match(/letters-(\d+)/);
      const letters = POINT * (said ? said[1] / 10 : SMALL);
      const width = Math.round((image.naturalWidth * READABLE) / letters);
      if (width <= NARROW) return;
      const frame = image.closest("figure, .cell_output");
      image.classList.add("wide");
      image.style.setProperty("--readable", `${width}px`);
      frame.classList.add("scrolls");
      // what scrolls is reached by keys, too
      if (matchMedia("(max-width: 600px)").matches && width > frame.clientWidth) frame.tabIndex = 0;
    };
    if (image.complete) mark();
    else image.addEventListener("load", mark);
  }
}

/* The tiles of the landing page say sparsity by sparsity what is kept; a slider shows one sparsity, with a light. */
// A light is a word's sign on the board of verdicts; what is lost outweighs what is undecided.
const LIGHTS = [["lost", "×"], ["undecided", "?"], ["kept", "●"]];

function lightTiles() {
  const told = [...document.querySelectorAll(".bd-content .tile .steps")].map((place) => {
    const steps = place.textContent.trim().replace(/\.$/, "").matchAll(/([\d.]+%): ([^;]+)/g);
    return { place, steps: new Map([...steps].map(([, sparsity, counts]) => [sparsity, counts])) };
  });
  const sparsities = [...new Set(told.flatMap(({ steps }) => [...steps.keys()]))].sort((a, b) => parseFloat(a) - parseFloat(b));
  if (sparsities.length < 2) return;
  // it begins where the sentences of the tiles stop
  const tiles = told.map(({ place }) => place.closest(".tile").textContent).join(" ");
  const begin = sparsities.indexOf(tiles.match(/; at ([\d.]+%)/)?.[1]);
  const slider = document.createElement("input");
  const label = document.createElement("label");
  const shown = document.createElement("output");
  Object.assign(slider, { type: "range", min: 0, max: sparsities.length - 1, value: Math.max(begin, 0) });
  label.className = "sparsity";
  label.append("With this share of weights removed: ", slider, shown);
  const show = () => {
    const sparsity = sparsities[slider.value];
    shown.value = sparsity;
    // who hears the page hears the tiles' counts with the sparsity
    const heard = [sparsity];
    for (const { place, steps } of told) {
      const counts = steps.get(sparsity);
      place.hidden = !counts;
      if (!counts) continue;
      const [word, sign] = LIGHTS.find(([word]) => counts.includes(word));
      const light = document.createElement("span");
      light.className = `light ${word}`;
      light.textContent = sign;
      light.ariaHidden = "true";
      place.replaceChildren(light, ` At ${sparsity}: ${counts}`);
      heard.push(`${place.closest(".tile").querySelector(".sd-card-title").textContent.trim()}: ${counts}`);
    }
    slider.ariaValueText = heard.join("; ");
  };
  slider.addEventListener("input", show);
  told[0].place.closest(".sd-container-fluid").before(label);
  show();
}

/* What an answer folds opens for a print, and closes after it. */
function unfoldForPrint() {
  let opened = [];
  addEventListener("beforeprint", () => {
    opened = [...document.querySelectorAll(".answer details:not([open])")];
    for (const part of opened) part.open = true;
  });
  addEventListener("afterprint", () => opened.forEach((part) => (part.open = false)));
}

/* Names of the reference break after a dot or an underscore, and within a word only where nothing else helps (book.css). */
function breakNames() {
  for (const name of document.querySelectorAll(".bd-content :is(h1, h2, dl.py dt.sig .pre), .prev-next-title")) {
    for (const text of [...name.childNodes].filter((part) => part.nodeType === Node.TEXT_NODE)) {
      const parts = text.data.split(/(?<=[._])(?=[A-Za-z])/);
      text.replaceWith(...parts.flatMap((part, i) => (i ? [document.createElement("wbr"), part] : [part])));
    }
  }
}

/* Search shows excerpts from a script that holds the texts of all pages: a page opened as a file may not read others. */
// Letters on each side of a word that was found.
const AROUND = 120;

function excerpt(text, terms) {
  const lower = text.toLowerCase();
  const places = terms.map((term) => lower.indexOf(term)).filter((place) => place >= 0);
  const middle = places.length ? Math.min(...places) : 0;
  const start = middle <= AROUND ? 0 : text.indexOf(" ", middle - AROUND) + 1;
  const part = text.slice(start, start + 2 * AROUND).trim();
  return (start ? "… " : "") + part + (start + part.length < text.length ? " …" : "");
}

function addExcerpts(results, terms) {
  for (const link of results.querySelectorAll("li:not(:has(p.context)) > a")) {
    const name = link.getAttribute("href").replace(/\.html(#.*)?$/, "");
    const said = document.createElement("p");
    said.className = "context";
    said.textContent = excerpt(window.PAGE_TEXTS[name] || "", terms);
    link.parentElement.append(said);
    if (typeof _highlightText === "function") terms.forEach((term) => _highlightText(said, term, "highlighted"));
  }
}

function searchWithExcerpts() {
  const results = document.getElementById("search-results");
  if (!results) return;
  const query = new URLSearchParams(location.search).get("q") || "";
  const terms = query.toLowerCase().split(/[^\p{Letter}\p{Number}_]+/u).filter((term) => term);
  const texts = document.createElement("script");
  texts.src = "_static/excerpts.js";
  texts.onload = () => {
    const add = () => addExcerpts(results, terms);
    new MutationObserver(add).observe(results, { childList: true, subtree: true });
    add();
  };
  document.body.append(texts);
}

/* Before the search starts: it is not to read pages itself. */
if (typeof DOCUMENTATION_OPTIONS !== "undefined") DOCUMENTATION_OPTIONS.SHOW_SEARCH_SUMMARY = false;

document.addEventListener("DOMContentLoaded", foldSidebar);
document.addEventListener("DOMContentLoaded", stackTables);
document.addEventListener("DOMContentLoaded", layOutOutputs);
document.addEventListener("DOMContentLoaded", keepCommasWithFormulas);
document.addEventListener("DOMContentLoaded", keepFiguresReadable);
document.addEventListener("DOMContentLoaded", lightTiles);
document.addEventListener("DOMContentLoaded", unfoldForPrint);
document.addEventListener("DOMContentLoaded", breakNames);
document.addEventListener("DOMContentLoaded", searchWithExcerpts);
