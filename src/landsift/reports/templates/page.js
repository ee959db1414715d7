
// Tables are in the page; a button saves one as a file. Without scripts there are no buttons.
for (const button of document.querySelectorAll("button.download")) {
  button.hidden = false;
  button.addEventListener("click", () => {
    const table = [...document.querySelectorAll("script[data-table]")].find(each => each.dataset.table === button.dataset.name);
    const link = document.createElement("a");
    // Spreadsheets take a file without this mark for one of another encoding.
    link.href = URL.createObjectURL(new Blob(["\ufeff", JSON.parse(table.textContent)], {type: "text/csv"}));
    link.download = button.dataset.name;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 60000);
  });
}
// What scrolls sideways is reached by the keyboard.
for (const box of document.querySelectorAll(".scroll")) {
  const label = box.querySelector("caption")?.textContent ?? box.closest("section")?.querySelector("h2")?.textContent;
  const watch = () => {
    const wide = box.scrollWidth > box.clientWidth + 1 || box.scrollHeight > box.clientHeight + 1;
    for (const [name, value] of [["tabindex", "0"], ["role", "region"], ["aria-label", label ?? "Table"]]) {
      if (wide) box.setAttribute(name, value); else box.removeAttribute(name);
    }
  };
  new ResizeObserver(watch).observe(box);
}
