// A table that is wider than its column gets a hint above it, and keeps a narrow first column in sight.
function fit(box) {
  const wide = box.scrollWidth > box.clientWidth + 1;
  const first = box.querySelector("th");
  box.classList.toggle("scrolls", wide);
  box.classList.toggle("pinned", wide && first && first.offsetWidth < box.clientWidth * 0.4);
  box.classList.toggle("at-end", box.scrollLeft + box.clientWidth >= box.scrollWidth - 2);
  box.previousElementSibling.hidden = !wide;
  if (wide) box.tabIndex = 0; // the arrow keys scroll it
}

addEventListener("load", () => {
  const observer = new ResizeObserver((entries) => entries.forEach((entry) => fit(entry.target)));
  for (const box of document.querySelectorAll(".md-typeset__scrollwrap")) {
    const hint = document.createElement("div");
    hint.className = "table-hint";
    hint.textContent = "scroll for more columns →";
    box.before(hint);
    box.addEventListener("scroll", () => fit(box), { passive: true });
    observer.observe(box);
  }
});
