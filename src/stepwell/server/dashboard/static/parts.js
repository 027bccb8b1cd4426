// The small parts: local times, running durations, copying, the theme, the side panel, keys.

import "./further.js";
import { parsed } from "./live.js";

const TIMES = new Intl.DateTimeFormat(undefined, { day: "numeric", month: "short", hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" });

function localise(part) {
  for (const each of part.querySelectorAll("time:not([data-local])")) {
    each.dataset.local = "";
    each.textContent = TIMES.format(new Date(each.dateTime));
  }
}

class LiveLength extends HTMLElement {
  connectedCallback() {
    this.timer = setInterval(() => (this.textContent = length(Date.now() - Date.parse(this.dataset.since))), 1000);
  }

  disconnectedCallback() {
    clearInterval(this.timer);
  }
}

function length(millis) {
  const seconds = Math.max(0, millis) / 1000;
  if (seconds < 60) return `${seconds.toFixed(1)} s`;
  const [days, hours, minutes] = [Math.floor(seconds / 86400), Math.floor((seconds / 3600) % 24), Math.floor((seconds / 60) % 60)];
  if (days) return `${days}d ${hours}h`;
  return hours ? `${hours}h ${minutes}m` : `${minutes}m ${Math.floor(seconds % 60)}s`;
}

class CopyText extends HTMLElement {
  connectedCallback() {
    const button = this.querySelector("button");
    button.addEventListener("click", async () => {
      button.textContent = await copied(this.querySelector("pre"));
      setTimeout(() => (button.textContent = "Copy"), 1500);
    });
  }
}

// Browsers open the clipboard to pages by https or of this machine only, and people may refuse: then the text is selected.
async function copied(text) {
  try {
    await navigator.clipboard.writeText(text.textContent);
    return "Copied";
  } catch {
    getSelection().selectAllChildren(text);
    text.focus({ preventScroll: true });
    return "Selected";
  }
}

class ThemeToggle extends HTMLElement {
  connectedCallback() {
    this.querySelector("button").addEventListener("click", () => {
      const html = document.documentElement;
      const now = html.dataset.theme || (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light");
      html.dataset.theme = now === "dark" ? "light" : "dark";
      const path = new URL(`${document.body.dataset.root}/`, location.href).pathname;
      document.cookie = `stepwell-theme=${html.dataset.theme}; path=${path}; max-age=31536000; samesite=lax`;
    });
  }
}

async function openPanel(url) {
  const made = (await parsed(url))?.getElementById("panel");
  if (!made) return location.assign(url);
  document.getElementById("panel").replaceWith(document.importNode(made, true));
  document.getElementById("panel").scrollTop = 0;
  const path = new URL(url, location.href).href;
  for (const link of document.querySelectorAll("a[data-panel]")) {
    if (link.href === path) link.setAttribute("aria-current", "true");
    else link.removeAttribute("aria-current");
  }
  if (matchMedia("(max-width: 960px)").matches) document.getElementById("panel").scrollIntoView({ block: "start" });
}

document.addEventListener("click", (event) => {
  const link = event.target.closest?.("a[data-panel]");
  if (!link || event.defaultPrevented || event.button || event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return;
  event.preventDefault();
  history.pushState({}, "", link.href);
  openPanel(link.href);
});
window.addEventListener("popstate", () => document.getElementById("panel") && openPanel(location.href));

document.addEventListener("keydown", (event) => {
  if (event.metaKey || event.ctrlKey || event.altKey || event.target.closest("input, textarea, select")) return;
  if (event.key === "/") {
    const search = document.querySelector("input[type=search]");
    if (search) event.preventDefault();
    search?.focus();
  }
  const step = { ArrowDown: 1, ArrowUp: -1, j: 1, k: -1 }[event.key];
  const links = [...document.querySelectorAll("[data-rows] a[data-panel], [data-rows] a.row-link")];
  const at = links.indexOf(document.activeElement);
  if (step && (at >= 0 || "jk".includes(event.key)) && links[at + step]) {
    event.preventDefault();
    links[at + step].focus();
  }
});

customElements.define("live-length", LiveLength);
customElements.define("copy-text", CopyText);
customElements.define("theme-toggle", ThemeToggle);
localise(document.body);
new MutationObserver((changes) => changes.some((change) => change.addedNodes.length) && localise(document.body)).observe(document.body, { childList: true, subtree: true });
document.documentElement.dataset.ready = "";
