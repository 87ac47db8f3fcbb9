// What pages do beyond being read: theme, menu, search, tabs, copy buttons. Everything else works without it.

const root = new URL(document.body.dataset.root || "./", location.href);

// Theme: automatic, light, dark, automatic, …
const themes = { auto: "automatic", light: "light", dark: "dark" };
const themeButton = document.querySelector(".theme-button");

function showTheme(theme) {
  document.documentElement.dataset.theme = theme;
  themeButton.setAttribute("aria-label", `Theme: ${themes[theme]}. Change it`);
  themeButton.title = `Theme: ${themes[theme]}`;
}

showTheme(document.documentElement.dataset.theme in themes ? document.documentElement.dataset.theme : "auto");
themeButton.addEventListener("click", () => {
  const names = Object.keys(themes);
  const next = names[(names.indexOf(document.documentElement.dataset.theme) + 1) % names.length];
  try { localStorage.setItem("theme", next); } catch { /* kept for this page only */ }
  showTheme(next);
});

// The list of chapters on narrow windows.
const menu = document.querySelector(".menu");
const sidebar = document.querySelector(".sidebar");

function showMenu(open) {
  sidebar.classList.toggle("open", open);
  menu.setAttribute("aria-expanded", String(open));
}

menu.addEventListener("click", () => showMenu(!sidebar.classList.contains("open")));
sidebar.addEventListener("keydown", (event) => {
  if (event.key === "Escape" && sidebar.classList.contains("open")) {
    showMenu(false);
    menu.focus();
  }
});
sidebar.querySelector("[aria-current]")?.scrollIntoView({ block: "nearest" });

// Contents of the page: folded where they stand above the text, with the current section marked where beside it.
const contents = document.querySelector(".contents");
if (contents) {
  const narrow = matchMedia("(max-width: 89.99rem)");
  const fold = () => { contents.open = !narrow.matches; };
  narrow.addEventListener("change", fold);
  fold();
  const links = new Map([...contents.querySelectorAll("a")].map((link) => [decodeURIComponent(link.hash.slice(1)), link]));
  const headings = [...links.keys()].map((id) => document.getElementById(id)).filter(Boolean);
  const markCurrent = () => {
    const passed = headings.filter((heading) => heading.getBoundingClientRect().top < 120);
    const current = links.get((passed.at(-1) || headings[0])?.id);
    for (const link of links.values()) {
      if (link === current) link.setAttribute("aria-current", "true");
      else link.removeAttribute("aria-current");
    }
    if (!current || narrow.matches) return;
    const above = current.getBoundingClientRect().top - contents.getBoundingClientRect().top;
    if (above < 40 || above > contents.clientHeight - 60) contents.scrollTop += above - contents.clientHeight / 2;
  };
  let waiting = false;
  addEventListener("scroll", () => {
    if (waiting) return;
    waiting = true;
    requestAnimationFrame(() => { waiting = false; markCurrent(); });
  }, { passive: true });
  markCurrent();
}

// Tabs: each section with a title becomes a panel.
document.querySelectorAll(".tabset").forEach((tabset, n) => {
  const panels = [...tabset.querySelectorAll(":scope > .tab")];
  const list = document.createElement("div");
  list.setAttribute("role", "tablist");
  const tabs = panels.map((panel, i) => {
    const title = panel.querySelector(".tab-title");
    const tab = document.createElement("button");
    tab.type = "button";
    tab.id = `tab-${n}-${i}`;
    tab.innerHTML = title.innerHTML;
    tab.setAttribute("role", "tab");
    title.remove();
    panel.id ||= `panel-${n}-${i}`;
    panel.setAttribute("role", "tabpanel");
    panel.setAttribute("aria-labelledby", tab.id);
    tab.setAttribute("aria-controls", panel.id);
    list.append(tab);
    return tab;
  });
  const select = (chosen) => tabs.forEach((tab, i) => {
    tab.setAttribute("aria-selected", String(i === chosen));
    tab.tabIndex = i === chosen ? 0 : -1;
    panels[i].hidden = i !== chosen;
  });
  tabs.forEach((tab, i) => tab.addEventListener("click", () => select(i)));
  list.addEventListener("keydown", (event) => {
    const at = tabs.indexOf(document.activeElement);
    const to = { ArrowRight: at + 1, ArrowLeft: at - 1, Home: 0, End: tabs.length - 1 }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    const next = (to + tabs.length) % tabs.length;
    select(next);
    tabs[next].focus();
  });
  tabset.prepend(list);
  select(0);
});

// Copy buttons.
document.querySelectorAll("div.sourceCode").forEach((block) => {
  const button = document.createElement("button");
  button.type = "button";
  button.className = "copy";
  button.textContent = "Copy";
  button.setAttribute("aria-label", "Copy this code");
  button.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(block.querySelector("code").innerText);
      button.textContent = "Copied";
    } catch {
      button.textContent = "Not allowed";
    }
    button.classList.add("done");
    setTimeout(() => { button.textContent = "Copy"; button.classList.remove("done"); }, 1500);
  });
  block.append(button);
});

// What scrolls sideways can be scrolled from the keyboard.
const scrollers = document.querySelectorAll("pre, .scroll, .float-body, .cell-output, .math-long");
const fitted = new ResizeObserver((entries) => {
  for (const { target } of entries) {
    if (target.scrollWidth > target.clientWidth + 1) target.tabIndex = 0;
    else target.removeAttribute("tabindex");
  }
});
scrollers.forEach((scroller) => fitted.observe(scroller));

// A link into something closed opens it.
function reveal() {
  const target = location.hash && document.getElementById(decodeURIComponent(location.hash.slice(1)));
  if (!target) return;
  for (let box = target.parentElement; box; box = box.parentElement) {
    if (box.tagName === "DETAILS") box.open = true;
    if (box.classList.contains("tab") && box.hidden) document.getElementById(box.getAttribute("aria-labelledby")).click();
  }
  target.scrollIntoView();
}
addEventListener("hashchange", reveal);
reveal();

// Search. The index is loaded when the dialog opens for the first time.
const dialog = document.querySelector("dialog.search");
const input = dialog.querySelector("input");
const status = dialog.querySelector(".search-status");
const results = dialog.querySelector(".search-results");
let engine;
let asked = 0;

async function openSearch() {
  dialog.showModal();
  input.select();
  try {
    engine ??= import(new URL("pagefind/pagefind.js", root)).then(async (pagefind) => {
      await pagefind.options({ baseUrl: root.pathname, excerptLength: 22 });
      await pagefind.init();
      return pagefind;
    });
    await engine;
  } catch {
    engine = undefined;
    status.textContent = "Search needs a web server; run “make serve” to read the book on this computer.";
  }
}

function resultItem(page, part) {
  const item = document.createElement("li");
  const link = document.createElement("a");
  link.href = part.url;
  const section = part.anchor && part.anchor.element !== "h1" ? ` › ${part.title}` : "";
  link.textContent = page.meta.title + section;
  const excerpt = document.createElement("span");
  excerpt.className = "excerpt";
  excerpt.innerHTML = part.excerpt; // pagefind escapes the text and adds only <mark>
  link.append(excerpt);
  item.append(link);
  return item;
}

async function search() {
  const number = ++asked;
  const words = input.value.trim();
  if (!words || !engine) {
    results.replaceChildren();
    status.textContent = "";
    return;
  }
  const pagefind = await engine;
  const found = await pagefind.debouncedSearch(words, {}, 120);
  if (!found || number !== asked) return;
  const pages = await Promise.all(found.results.slice(0, 8).map((result) => result.data()));
  if (number !== asked) return;
  results.replaceChildren(...pages.flatMap((page) => (page.sub_results.length ? page.sub_results : [page]).slice(0, 3).map((part) => resultItem(page, part))));
  const count = found.results.length;
  status.textContent = count === 0 ? "Nothing found." : count === 1 ? "On one page." : `On ${count} pages.`;
}

document.querySelector(".search-button").addEventListener("click", openSearch);
input.addEventListener("input", search);
dialog.addEventListener("click", (event) => { if (event.target === dialog) dialog.close(); });
results.addEventListener("click", (event) => { if (event.target.closest("a")) dialog.close(); });
dialog.addEventListener("keydown", (event) => {
  const links = [...results.querySelectorAll("a")];
  const at = links.indexOf(document.activeElement);
  if (event.key === "ArrowDown" && links.length) {
    event.preventDefault();
    links[Math.min(at + 1, links.length - 1)].focus();
  } else if (event.key === "ArrowUp" && at >= 0) {
    event.preventDefault();
    (links[at - 1] || input).focus();
  } else if (event.key === "Enter" && document.activeElement === input) {
    event.preventDefault();
    links[0]?.click();
  }
});
addEventListener("keydown", (event) => {
  const typing = event.target.closest?.("input, textarea, select, [contenteditable]");
  if (event.key === "/" && !typing && !event.ctrlKey && !event.metaKey && !event.altKey) {
    event.preventDefault();
    openSearch();
  }
});
