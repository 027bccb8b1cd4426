// <live-page>: is told of changed runs (server-sent events), asks for this page once more, and takes over what differs.
// data-every: so many seconds apart even if no run has changed. Nothing jumps: rows are replaced in their place, rows to come at the top wait behind a button.

const root = document.body.dataset.root;
const PAUSE_MS = 400;
const PATIENCE_MS = 30_000;

class LivePage extends HTMLElement {
  connectedCallback() {
    this.known = new Map([...this.querySelectorAll("[data-live]")].map((each) => [each.id, each.outerHTML]));
    this.waiting = [];
    this.changed = new Set();
    this.stale = new Set(); // further parts of a long run whose rows may have changed since they were loaded
    this.timer = this.scrolled = 0;
    this.button = this.querySelector("[data-fresh]");
    this.button?.addEventListener("click", () => this.showWaiting());
    this.addEventListener("input", (event) => event.target.closest("[data-live]")?.setAttribute("data-dirty", ""));
    window.addEventListener("scroll", () => this.stale.size && (this.scrolled ||= setTimeout(() => this.catchUp(), PAUSE_MS / 2)), { passive: true });
    if (this.hasAttribute("data-over")) return;
    this.connect();
    if (this.dataset.every) setInterval(() => document.hidden || this.soon(), this.dataset.every * 1000);
    window.addEventListener("pagehide", () => this.source.close());
    window.addEventListener("pageshow", (event) => event.persisted && this.connect());
  }

  connect() {
    const run = this.dataset.run ? `?run=${encodeURIComponent(this.dataset.run)}` : "";
    this.source = new EventSource(`${root}/live${run}`);
    this.source.addEventListener("changed", (event) => {
      (JSON.parse(event.data).runs ?? []).forEach((id) => this.changed.add(`r-${id}`));
      this.soon();
    });
    this.source.addEventListener("ready", () => {
      this.dataset.connected = "";
      this.soon(); // what changed between the page and the connection
    });
  }

  soon() {
    this.timer ||= setTimeout(() => this.refresh(), PAUSE_MS);
  }

  async refresh() {
    try {
      const page = await parsed(location.href);
      if (page) this.take(page);
      const parts = [...this.querySelectorAll("[data-part]")].map((row) => row.dataset.part);
      parts.forEach((part) => this.stale.add(part));
      if (page && !parts.length) this.grow(page);
      await this.catchUp(parts.at(-1)); // what is new comes at its end
      await this.takeOthers(page);
    } catch (problem) {
      console.debug("could not refresh", problem); // the next change, or the reconnection, tries again
    } finally {
      this.timer = 0;
    }
  }

  // the further parts that are in view, and this one; the others once they are scrolled to
  async catchUp(also) {
    this.scrolled = 0;
    const begins = [...this.querySelectorAll("[data-part]")];
    const top = (row) => row?.getBoundingClientRect().top ?? Infinity;
    const seen = begins.filter((row, at) => row.dataset.part === also || (top(row) < innerHeight && top(begins[at + 1]) > 0));
    for (const url of seen.map((row) => row.dataset.part)) {
      const page = this.stale.delete(url) && (await parsed(url));
      if (page) this.take(page);
      if (page && url === also) this.grow(page);
    }
  }

  // what was the last part of a long run, as ``page`` has it now, may have others behind it
  grow(page) {
    const made = page.querySelector("further-rows");
    const there = this.querySelector("further-rows");
    if (made && there && !there.dataset.more) there.follow(made);
    if (made && !there) this.querySelector("[data-rows]").after(document.importNode(made, true));
  }

  // runs that changed, are shown here, and were pushed off the page as it would be now
  async takeOthers(page) {
    const gone = [...this.changed].filter((id) => document.getElementById(id) && !page?.getElementById(id));
    this.changed.clear();
    if (!gone.length || this.dataset.run || location.pathname.includes("/events")) return;
    const only = await parsed(`${root}/?only=${gone.slice(0, 50).map((id) => id.slice(2)).join(",")}`);
    if (only) for (const row of only.querySelectorAll("[data-rows] [data-live]")) this.replace(row);
  }

  take(page) {
    if (document.querySelector(".teach") && page.querySelector("[data-rows] > *")) return location.reload();
    const added = [];
    for (const part of page.querySelectorAll("live-page [data-live]")) {
      if (!this.replace(part) && part.parentElement.matches("[data-rows]")) added.push(part);
    }
    const none = document.getElementById("none");
    if (none && !page.getElementById("none")) none.remove();
    if (page.querySelector("live-page[data-over]")) this.source.close();
    this.add(added);
  }

  replace(part) {
    const there = document.getElementById(part.id);
    if (!there) return false;
    const html = part.outerHTML;
    const busy = there.hasAttribute("data-dirty") || (there.id === "panel" && there.contains(document.activeElement) && document.activeElement !== there);
    if (this.known.get(part.id) === html || busy) return true;
    this.known.set(part.id, html);
    const focused = there.contains(document.activeElement) ? document.activeElement.getAttribute("href") : null;
    const made = document.importNode(part, true);
    keepState(there, made);
    if (there.dataset.part) made.dataset.part = there.dataset.part;
    const tick = made.querySelector("input[type=checkbox]");
    if (tick) tick.checked = there.querySelector("input[type=checkbox]").checked;
    there.replaceWith(made);
    if (focused) made.querySelector(`a[href="${CSS.escape(focused)}"]`)?.focus({ preventScroll: true });
    return true;
  }

  add(parts) {
    const rows = this.querySelector("[data-rows]");
    if (!rows || !parts.length) return;
    if (rows.matches("ol") || !rows.children.length) {
      rows.append(...parts.map((part) => document.importNode(part, true)));
      return;
    }
    if (!this.button || new URLSearchParams(location.search).has("cursor")) return;
    this.waiting = parts.map((part) => document.importNode(part, true));
    this.button.textContent = `${parts.length} new`;
    this.button.hidden = false;
  }

  showWaiting() {
    this.querySelector("[data-rows]").prepend(...this.waiting);
    this.waiting = [];
    this.button.hidden = true;
  }
}

// what the reader had opened, and how far it was scrolled
function keepState(old, made) {
  const before = [...old.querySelectorAll("details")];
  const after = [...made.querySelectorAll("details")];
  if (before.length === after.length) after.forEach((each, at) => (each.open = before[at].open));
  requestAnimationFrame(() => (made.scrollTop = old.scrollTop));
}

// the page at ``url``; null where it can not be had, or not in time
export async function parsed(url) {
  try {
    const answer = await fetch(url, { headers: { accept: "text/html" }, credentials: "same-origin", signal: AbortSignal.timeout(PATIENCE_MS) });
    if (!answer.ok || answer.url.includes("/login")) return null;
    return new DOMParser().parseFromString(await answer.text(), "text/html");
  } catch (problem) {
    console.debug("could not load", url, problem);
    return null;
  }
}

customElements.define("live-page", LivePage);
