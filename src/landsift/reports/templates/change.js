// Two dates side by side on two planes of MapLibre that move together, and what differs between them.

const SHOWN = 30;  // transitions with a line of their own

function amount(hectares) {
  if (hectares === 0 || hectares >= 1000) return Math.round(hectares).toLocaleString("en");
  return hectares >= 10 ? hectares.toFixed(1) : String(Number(hectares.toPrecision(3)));
}

async function datesOf(data) {
  return Promise.all(data.dates.map(async each => {
    const raw = await inflated(each.codes);
    return {
      name: each.name,
      codes: data.wide ? new Uint16Array(raw) : new Uint8Array(raw),
      confidence: each.confidence && new Uint8Array(await inflated(each.confidence)),
    };
  }));
}

// Where the lower confidence of two dates is below the limit; null where one has none.
function lowOf(one, other, limit) {
  if (limit === null || !one.confidence || !other.confidence) return null;
  return i => Math.min(one.confidence[i], other.confidence[i]) / 100 < limit;
}

// Hectares from class to class: of all cells from the first date to the last, else of the cells that are shown.
function transitionsOf(data, dates, from, to) {
  const found = new Map(), K = data.classes.length;
  const add = (a, b, hectares, low) => {
    const row = found.get(a * (K + 1) + b) || {a, b, hectares: 0, low: 0};
    row.hectares += hectares;
    row.low += low;
    found.set(a * (K + 1) + b, row);
  };
  const whole = from === 0 && to === dates.length - 1;
  if (whole) {
    for (const row of data.transitions) add(...row);
  } else {
    const [one, other] = [dates[from], dates[to]], low = lowOf(one, other, data.limit), width = data.shape[1];
    for (let i = 0; i < one.codes.length; i++) if (one.codes[i] && other.codes[i]) {
      const hectares = data.hectares[Math.floor(i / width)];
      add(one.codes[i], other.codes[i], hectares, low && low(i) ? hectares : 0);
    }
  }
  const rows = [...found.values()], total = rows.reduce((sum, row) => sum + row.hectares, 0);
  const changes = rows.filter(row => row.a !== row.b).sort((p, q) => q.hectares - p.hectares);
  return {changes, total, about: !whole && data.step > 1};
}

// The layer of changes. A cell is drawn with several pixels where there are few cells, so that it can be hatched.
function drawChange(canvas, data, one, other, shown) {
  const [height, width] = data.shape, scale = canvas.width / width, low = lowOf(one, other, data.limit);
  const context = canvas.getContext("2d"), image = context.createImageData(canvas.width, canvas.height);
  const pixels = new Uint32Array(image.data.buffer), K = data.classes.length;
  const strong = new Uint32Array(K + 1), pale = new Uint32Array(K + 1);
  for (const each of data.classes) {
    strong[each.code] = pixelOf(each.rgb);
    pale[each.code] = pixelOf(each.rgb.map(level => 255 * 0.75 + level * 0.25));
  }
  const period = Math.max(2, Math.round(scale / 2));
  for (let row = 0, i = 0; row < height; row++) for (let column = 0; column < width; column++, i++) {
    const a = one.codes[i], b = other.codes[i];
    if (!a || !b) continue;
    let colour = 0, hatched = false;
    if (a === b) colour = shown.same ? pale[b] : 0;
    else if (!shown.hidden.has(shown.keyOf(a, b))) {
      hatched = low !== null && low(i);
      colour = (hatched ? shown.low : shown.sure) ? strong[b] : 0;
    }
    if (!colour) continue;
    for (let y = row * scale; y < (row + 1) * scale; y++) for (let x = column * scale; x < (column + 1) * scale; x++)
      if (!hatched || (x + y) % period < period / 2) pixels[y * canvas.width + x] = colour;
  }
  context.putImageData(image, 0, 0);
}

// Lines of the legend of transitions; those after the first ones share one.
function legendOf(data, found, hidden, onChange) {
  const names = new Map(data.classes.map(each => [each.code, each])), rest = found.changes.slice(SHOWN);
  const lines = found.changes.slice(0, SHOWN).map(row => ({key: `${row.a} ${row.b}`, rows: [row]}));
  if (rest.length) lines.push({key: "rest", rows: rest});
  document.querySelector("#transitions tbody").replaceChildren(...lines.map(line => {
    const hectares = line.rows.reduce((sum, row) => sum + row.hectares, 0);
    const row = document.createElement("tr"), head = document.createElement("th"), label = document.createElement("label");
    const box = document.createElement("input");
    Object.assign(box, {type: "checkbox", checked: !hidden.has(line.key)});
    box.dataset.transition = line.key;
    box.addEventListener("change", () => { box.checked ? hidden.delete(line.key) : hidden.add(line.key); onChange(); });
    label.append(box);
    if (line.key === "rest") label.append(`${line.rows.length} others`);
    else {
      const [one, other] = [names.get(line.rows[0].a), names.get(line.rows[0].b)];
      for (const each of [one, other]) {
        const swatch = document.createElement("span");
        swatch.className = "box";
        swatch.style.background = `rgb(${each.rgb.join(",")})`;
        label.append(swatch);
      }
      const text = document.createElement("span"), low = line.rows[0].low;
      text.textContent = `${one.name} → ${other.name}`;
      if (low) text.append(Object.assign(document.createElement("small"), {textContent: `${amount(low)} of low confidence`}));
      label.append(text);
    }
    head.scope = "row";
    head.append(label);
    row.append(head, ...[amount(hectares), `${(100 * hectares / found.total).toFixed(1)} %`].map(text => {
      const cell = document.createElement("td");
      cell.textContent = text;
      return cell;
    }));
    return row;
  }));
  const none = found.changes.length === 0;
  if (none) document.querySelector("#transitions tbody").innerHTML = "<tr><td colspan=3>no cell changes its class</td></tr>";
  document.getElementById("unit").textContent = found.about ? "about ha" : "hectares";
  return new Set(lines.map(line => line.key));
}

async function showChange(data) {
  const [height, width] = data.shape, dates = await datesOf(data), frame = document.getElementById("map");
  const scale = Math.max(1, Math.min(16, Math.floor(1600 / Math.max(height, width))));
  const names = new Map(data.classes.map(each => [each.code, each.name]));
  const hiddenClasses = new Set(), hidden = new Set();
  let pair = [0, dates.length - 1], lines = new Set(), split = 0.5;
  const shown = {hidden, same: true, sure: true, low: true,
                 keyOf: (a, b) => lines.has(`${a} ${b}`) ? `${a} ${b}` : "rest"};
  const readout = (column, row) => {
    const [a, b, c, d, e, f] = data.affine, i = Math.floor(row) * width + Math.floor(column);
    const inside = column >= 0 && column < width && row >= 0 && row < height;
    const digits = Math.abs(a) + Math.abs(b) < 0.1 ? 5 : 0;
    const place = `${(a * column + b * row + c).toFixed(digits)}, ${(d * column + e * row + f).toFixed(digits)}`;
    const said = ({name, codes, confidence}) => {
      const sure = codes[i] && confidence ? `, confidence ${confidence[i]} %` : "";
      return `${name}: ${codes[i] ? names.get(codes[i]) : "no data"}${sure}`;
    };
    document.getElementById("readout").textContent =
      `${place} · ${inside ? pair.map(date => said(dates[date])).join(" · ") : "outside the map"}`;
  };
  const panes = ["before", "after"].map(id => {
    const canvases = {classes: canvasOf(width, height)};
    if (id === "after") canvases.change = canvasOf(width * scale, height * scale);
    return {box: document.getElementById(id), shown: {layer: "classes", opacity: 1, scene: false, canvases}};
  });
  const draw = () => {
    panes.forEach((pane, side) => drawClasses(pane.shown.canvases.classes, dates[pair[side]].codes, data.classes, hiddenClasses));
    if (panes[1].shown.layer === "change")
      drawChange(panes[1].shown.canvases.change, data, dates[pair[0]], dates[pair[1]], shown);
  };
  draw();
  if (canMove()) {
    const maps = panes.map((pane, side) => movingMap(pane.box, data, pane.shown, readout, {frame, tools: side === 1}));
    await Promise.all(maps.map(each => each.loaded));
    panes.forEach((pane, side) => {
      pane.update = maps[side].update;
      pane.clipped = pane.box.querySelector(".maplibregl-canvas");
    });
    let following = false;
    maps.forEach(({map}, side) => map.on("move", () => {
      if (following) return;
      following = true;
      maps[1 - side].map.jumpTo({center: map.getCenter(), zoom: map.getZoom()});
      following = false;
    }));
    window.landsiftMap = maps[1].map;
    window.landsiftMaps = maps.map(each => each.map);
  } else {
    for (const pane of panes) {
      pane.update = plainMap(pane.box, pane.shown);
      pane.clipped = pane.box.firstChild;
    }
  }
  const update = () => { draw(); panes.forEach(pane => pane.update()); };
  const handle = document.getElementById("handle");
  const clip = () => {
    const at = 100 * split, change = panes[1].shown.layer === "change";
    panes[0].clipped.style.clipPath = change ? "inset(0 100% 0 0)" : `inset(0 ${100 - at}% 0 0)`;
    panes[1].clipped.style.clipPath = change ? "none" : `inset(0 0 0 ${at}%)`;
    handle.style.left = `${at}%`;
    handle.setAttribute("aria-valuenow", Math.round(at));
    frame.classList.toggle("whole", change);
  };
  const move = to => { split = Math.min(1, Math.max(0, to)); clip(); };
  handle.addEventListener("pointerdown", event => {
    handle.setPointerCapture(event.pointerId);
    event.preventDefault();
    handle.focus();
  });
  handle.addEventListener("pointermove", event => {
    const box = frame.getBoundingClientRect();
    if (handle.hasPointerCapture(event.pointerId)) move((event.clientX - box.left) / box.width);
  });
  handle.addEventListener("keydown", event => {
    const by = {ArrowLeft: -0.02, ArrowRight: 0.02, Home: -1, End: 1}[event.key];
    if (by) { event.preventDefault(); move(split + by); }
  });
  const choose = () => {
    const [one, other] = pair.map(date => dates[date]), found = transitionsOf(data, dates, ...pair);
    hidden.clear();
    document.getElementById("every").checked = true;
    lines = legendOf(data, found, hidden, update);
    const known = lowOf(one, other, data.limit) !== null;
    document.getElementById("low-row").hidden = !known;
    document.getElementById("sure-name").textContent = known ? "Of higher confidence" : "All";
    name();
    update();
  };
  const name = () => {
    const change = panes[1].shown.layer === "change", [one, other] = pair.map(date => dates[date].name);
    document.getElementById("date-before").textContent = change ? `${one} → ${other}` : one;
    document.getElementById("date-after").textContent = other;
    panes.forEach((pane, side) => pane.box.setAttribute("aria-label", `Map of ${[one, other][side]}: drag to move, scroll to zoom`));
  };
  for (const radio of document.querySelectorAll("input[name=shown]")) radio.addEventListener("change", () => {
    const change = radio.value === "change";
    panes[1].shown.layer = change ? "change" : "classes";
    document.getElementById("classes").hidden = change;
    document.getElementById("changes").hidden = !change;
    clip();
    name();
    update();
  });
  ["from", "to"].forEach((id, side) => document.getElementById(id)?.addEventListener("change", event => {
    pair[side] = Number(event.target.value);
    choose();
  }));
  for (const key of ["same", "sure", "low"]) document.getElementById(key).addEventListener("change", event => {
    shown[key] = event.target.checked;
    update();
  });
  document.getElementById("every").addEventListener("change", event => {
    for (const box of document.querySelectorAll("[data-transition]"))
      if (box.checked !== event.target.checked) {
        box.checked = event.target.checked;
        box.checked ? hidden.delete(box.dataset.transition) : hidden.add(box.dataset.transition);
      }
    update();
  });
  for (const each of document.querySelectorAll("[data-code]")) each.addEventListener("change", () => {
    each.checked ? hiddenClasses.delete(Number(each.dataset.code)) : hiddenClasses.add(Number(each.dataset.code));
    update();
  });
  choose();
  clip();
  document.documentElement.dataset.map = "ready";
}
