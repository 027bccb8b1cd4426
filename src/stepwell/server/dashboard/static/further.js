// <further-rows>: the links to the next rows of a long run; those come by themselves once it is near what is seen.

import { parsed } from "./live.js";

class FurtherRows extends HTMLElement {
  connectedCallback() {
    // the last entry is what holds now: a quick scroll brings "not seen" and "seen" together
    this.observer = new IntersectionObserver((entries) => entries.at(-1).isIntersecting && this.load(), { rootMargin: "600px" });
    this.observer.observe(this);
  }

  disconnectedCallback() {
    this.observer.disconnect();
  }

  async load() {
    const url = this.dataset.more;
    if (!url || this.asking) return;
    this.asking = true;
    const page = await parsed(url);
    this.asking = false;
    const made = page?.querySelector("further-rows");
    if (!made) return; // the next scroll to it tries again
    const fresh = [...page.querySelectorAll("[data-rows] > *")].filter((row) => !document.getElementById(row.id));
    if (fresh.length) fresh[0].dataset.part = url;
    document.querySelector("ol[data-rows]").append(...fresh.map((row) => document.importNode(row, true)));
    this.follow(made);
  }

  // go on from where ``made``, that of the last part, ends
  follow(made) {
    this.querySelector("[rel=next]")?.remove();
    this.querySelector(".muted").textContent = `Steps up to ${made.querySelector(".muted").textContent.split("–")[1]}`;
    this.dataset.more = made.dataset.more;
    this.observer.unobserve(this);
    this.observer.observe(this); // it may be in view already
  }
}

customElements.define("further-rows", FurtherRows);
