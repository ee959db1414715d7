
// Figures are drawn in the colours of the page, and once more where these change: on a dark page, on paper.
function drawFigures(config, dark) {
  const night = matchMedia("(prefers-color-scheme: dark)");
  const colour = new RegExp(Object.keys(dark).map(each => each.replace(/[()]/g, "\\$&")).join("|"), "g");
  const plots = [...document.querySelectorAll("script[data-figure]")].map(data => [document.getElementById(data.dataset.figure), data.textContent]);
  let onPaper = false;
  const draw = () => {
    for (const [plot, text] of plots) {
      const figure = JSON.parse(night.matches && !onPaper ? text.replace(colour, each => dark[each]) : text);
      if (innerWidth < 600) {
        Object.assign(figure.layout, figure.layout.meta?.narrow);
        figure.layout.font.size = 11;
        figure.layout.legend.font = {size: 10};
      }
      // A sheet of paper is narrower than most windows, and drawings do not shrink by themselves.
      const most = plot.closest(".columns") ? 330 : 660;
      if (onPaper) Object.assign(figure.layout, {width: Math.min(plot.clientWidth, most), autosize: false});
      Plotly.react(plot, {...figure, config});
    }
  };
  draw();
  night.addEventListener("change", draw);
  addEventListener("beforeprint", () => { onPaper = true; draw(); });
  addEventListener("afterprint", () => { onPaper = false; draw(); });
}
