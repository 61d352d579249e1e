// Finds sections whose text holds every word; INDEX comes from index.js, made with the pages.
"use strict";
{
  const input = document.getElementById("search"), list = document.getElementById("found");
  const up = input.dataset.up;
  input.addEventListener("input", () => {
    const words = input.value.toLowerCase().split(/\s+/).filter(Boolean);
    const hits = words.length === 0 ? [] : INDEX.filter(
      (entry) => words.every((word) => (entry.title + " " + entry.text).toLowerCase().includes(word)));
    list.replaceChildren(...hits.slice(0, 12).map((entry) => {
      const item = document.createElement("li"), link = document.createElement("a");
      link.href = up + entry.link;
      link.textContent = entry.title;
      item.append(link);
      return item;
    }));
    if (words.length && !hits.length) {
      const item = document.createElement("li");
      item.textContent = "Nothing found";
      list.append(item);
    }
    list.hidden = words.length === 0;
  });
}
