// A sample is labelled place by place. Labels are kept in the browser, and saved as a table that `landsift areas` reads.

const CANNOT = "cannot tell";
const COLUMNS = ["id", "lon", "lat", "x", "y", "reference", "note"];

function element(name, properties = {}, ...children) {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children);
  return made;
}

function drawn(name, attributes) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  return made;
}

function quoted(value) {
  const text = String(value ?? "");
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

// The rows of a table, separated by commas, semicolons or tabs.
function rowsOf(text) {
  const head = text.replace(/^\ufeff/, ""), first = head.split(/\r?\n/, 1)[0];
  const separator = [",", ";", "\t"].reduce((one, other) => first.split(one).length >= first.split(other).length ? one : other);
  const rows = [[""]];
  let inside = false;
  for (let i = 0; i < head.length; i++) {
    const letter = head[i], row = rows.at(-1);
    if (inside && letter === '"' && head[i + 1] === '"') { row[row.length - 1] += '"'; i++; }
    else if (letter === '"') inside = !inside;
    else if (!inside && letter === separator) row.push("");
    else if (!inside && letter === "\n") rows.push([""]);
    else if (inside || letter !== "\r") row[row.length - 1] += letter;
  }
  return rows.filter(row => row.some(cell => cell !== ""));
}

// Labels by the numbers of places, and whether they are in a file; kept in the browser where it allows that. Other
// tabs may have the same page: only what was labelled here is written over what they have kept.
function keptLabels(key, onOther) {
  const name = `landsift-labels-${key}`, state = {labels: {}, unsaved: false};
  let keeps = true;
  const read = () => {
    const kept = JSON.parse(localStorage.getItem(name));
    for (const [id, label] of Object.entries(kept?.labels ?? {})) if (Array.isArray(label?.answers)) state.labels[id] = label;
    state.unsaved ||= kept?.unsaved === true;
  };
  const keep = (labels = {}) => {
    const unsaved = state.unsaved;
    try { if (keeps) read(); } catch { /* what is there are no labels: it is replaced */ }
    Object.assign(state.labels, labels);
    state.unsaved = unsaved;
    try { localStorage.setItem(name, JSON.stringify(state)); } catch { keeps = false; }
  };
  try { read(); } catch { /* as above */ }
  keep();
  addEventListener("storage", event => {
    if (event.key !== name || event.newValue === null || !keeps) return;
    state.unsaved = false;
    try { read(); } catch { return; }
    onOther();
  });
  return {state, keep, keeps: () => keeps};
}

function startLabelling(data) {
  const {state, keep, keeps} = keptLabels(data.key, () => show()), count = data.questions.length, labels = state.labels;
  const by = id => document.getElementById(id), names = data.classes.map(each => each.name);
  const plain = text => text.normalize("NFC");  // ä is one letter, or a and two dots
  const answersOf = new Map((count === 1 ? names.map((name, k) => [name, [k]])
    : names.flatMap((one, j) => names.map((other, k) => [one + data.arrow + other, [j, k]]))).map(([name, to]) => [plain(name.trim()), to]));
  let at = 0;
  const labelOf = point => labels[point.id] ?? {answers: Array(count).fill(null), cannot: false, note: ""};
  const isAnswered = point => labelOf(point).cannot || labelOf(point).answers.every(each => each !== null);
  const referenceOf = label => label.cannot || label.answers.includes(null)
    ? "" : label.answers.map(each => names[each]).join(data.arrow);
  const noteOf = label => label.cannot ? [CANNOT, label.note].filter(Boolean).join(": ") : label.note;
  const say = text => { by("said").textContent = text; };

  const questions = data.questions.map((question, q) => {
    const buttons = data.classes.map((each, k) => {
      const box = element("span", {className: "box"});
      box.style.background = each.colour;
      const button = element("button", {type: "button", className: "class"},
        ...(each.key ? [element("kbd", {textContent: each.key})] : []), box, element("span", {className: "name", textContent: each.name}));
      button.addEventListener("click", event => event.detail > 1 || answer(q, k));  // else a double click labels two places
      return button;
    });
    const set = element("fieldset", {}, element("legend", {textContent: question || "Class"}), ...buttons);
    by("questions").append(set);
    return {set, buttons};
  });

  const show = () => {
    const point = data.points[at], label = labelOf(point), answered = data.points.filter(isAnswered);
    const cannot = answered.filter(each => labelOf(each).cannot).length, asked = label.answers.indexOf(null);
    by("number").value = at + 1;
    by("coordinates").textContent = point.lat === null || point.lon === null ? `x ${point.x}, y ${point.y}`
      : `${point.lat.toFixed(5)}, ${point.lon.toFixed(5)} (latitude, longitude)`;
    by("done").style.width = `${100 * answered.length / data.points.length}%`;
    by("progress").textContent = `${answered.length - cannot} of ${data.points.length} labelled` +
      (cannot ? `, ${cannot} cannot be told` : "") + (state.unsaved ? " · not all saved to a file" : "");
    for (const [q, {set, buttons}] of questions.entries()) {
      set.classList.toggle("asked", count > 1 && !label.cannot && q === asked);
      buttons.forEach((button, k) => button.setAttribute("aria-pressed", label.answers[q] === k));
    }
    by("cannot").setAttribute("aria-pressed", label.cannot);
    if (document.activeElement !== by("note")) by("note").value = label.note;
    by("back").disabled = at === 0;
    by("next").disabled = at === data.points.length - 1;
    by("kept").hidden = keeps();
  };

  const showPictures = () => by("pictures").replaceChildren(...data.scenes.map((scene, s) => {
    const picture = data.points[at].pictures[s], frame = element("div", {className: "frame"});
    if (picture) {
      const outline = picture.outline.map(([x, y]) => `${100 * x},${100 * y}`).join(" ");
      const drawing = drawn("svg", {viewBox: "0 0 100 100", preserveAspectRatio: "none", "aria-hidden": "true"});
      drawing.append(drawn("polygon", {points: outline, class: "dark"}), drawn("polygon", {points: outline, class: "light"}));
      frame.append(element("img", {src: picture.data, alt: `Place ${at + 1} in ${scene.name}`}), drawing);
    } else {
      frame.append("no picture: the scene has nothing here");
    }
    const caption = scene.date ? `${scene.date} · ${scene.name}` : scene.name;
    return element("figure", {}, frame, element("figcaption", {textContent: caption}));
  }));

  const go = to => {
    at = Math.min(Math.max(to, 0), data.points.length - 1);
    by("note").blur();
    showPictures();
    show();
  };
  const change = label => {
    state.unsaved = true;
    keep({[data.points[at].id]: label});
  };
  const forward = () => {
    if (at < data.points.length - 1) return go(at + 1);
    show();
    const left = data.points.filter(point => !isAnswered(point)).length;
    say(left ? `This is the last place. ${left} have no label yet.` : "All places are labelled. Save them to a file.");
  };
  const answer = (q, k) => {
    const label = structuredClone(labelOf(data.points[at]));
    label.answers[q] = k;
    label.cannot = false;
    change(label);
    label.answers.includes(null) ? show() : forward();
  };
  const cannotTell = () => {
    const label = structuredClone(labelOf(data.points[at]));
    label.cannot = !label.cannot;
    if (label.cannot) label.answers.fill(null);
    change(label);
    label.cannot ? forward() : show();
  };

  const save = () => {
    const rows = data.points.map(point => {
      const label = labelOf(point);
      return [point.id, point.lon, point.lat, point.x, point.y, referenceOf(label), noteOf(label)].map(quoted).join(",");
    });
    const link = element("a", {download: data.file});
    link.href = URL.createObjectURL(new Blob(["\ufeff" + [COLUMNS.join(","), ...rows].join("\n") + "\n"], {type: "text/csv"}));
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 60000);
    state.unsaved = false;
    keep();
    show();
    const left = data.points.filter(point => !isAnswered(point)).length;
    say(`Saved as ${data.file}.` + (left ? ` ${left} places have no label yet.` : ""));
  };

  // Labels of a table that this page or a spreadsheet saved; they replace those of the same places.
  const load = text => {
    const [head = [], ...rows] = rowsOf(text), columns = head.map(name => name.trim()), found = {}, seen = new Set();
    const valueOf = (row, name) => (row[columns.indexOf(name)] ?? "").trim(), has = name => columns.includes(name);
    if (!has("id") || !has("reference")) return say("This file has no columns id and reference: nothing was opened.");
    const axes = [["x", "y"], ["lon", "lat"]].find(pair => pair.every(has));
    if (!axes) return say("This file has no columns x and y, nor lon and lat, which tell the places: nothing was opened.");
    const points = new Map(data.points.map(each => [each.id, each]));
    for (const row of rows) {
      const id = Number(valueOf(row, "id")), reference = valueOf(row, "reference"), point = points.get(id);
      const note = valueOf(row, "note"), cannot = !reference && (note === CANNOT || note.startsWith(`${CANNOT}: `));
      const there = axis => point[axis] === null || (valueOf(row, axis) !== "" &&  // a number that is none is not there either
        Math.abs(Number(valueOf(row, axis).replace(",", ".")) - point[axis]) <= 1e-6 * Math.max(1, Math.abs(point[axis])));
      if (!point || !axes.every(there)) return say(`Place ${valueOf(row, "id")} is not of this sample, or its coordinates were changed: nothing was opened.`);
      if (seen.has(id)) return say(`Place ${id} is in this file twice: nothing was opened.`);
      seen.add(id);
      if (reference && !answersOf.has(plain(reference))) return say(`“${reference}” of place ${id} is no class: nothing was opened.`);
      const answers = answersOf.get(plain(reference)) ?? Array(count).fill(null);
      if (reference || note) found[id] = {answers, cannot, note: cannot ? note.slice(CANNOT.length).replace(/^: /, "") : note};
    }
    const other = Object.keys(found).filter(id => labels[id] && (referenceOf(labels[id]) || labels[id].cannot)
      && (referenceOf(labels[id]) !== referenceOf(found[id]) || labels[id].cannot !== found[id].cannot)).length;
    keep(found);
    show();
    say(`${Object.keys(found).length} labels opened.` + (other ? ` ${other} of them replace other labels of this page.` : ""));
  };

  by("cannot").addEventListener("click", event => event.detail > 1 || cannotTell());
  by("back").addEventListener("click", () => go(at - 1));
  by("next").addEventListener("click", () => go(at + 1));
  by("open-next").addEventListener("click", () => {
    const order = data.points.map((_, i) => (at + 1 + i) % data.points.length);
    const to = order.find(i => !isAnswered(data.points[i]));
    to === undefined ? say("All places are labelled. Save them to a file.") : go(to);
  });
  by("number").addEventListener("change", event => go(Math.round(Number(event.target.value) || 1) - 1));
  by("note").addEventListener("input", event => {
    change({...structuredClone(labelOf(data.points[at])), note: event.target.value});
    show();
  });
  by("save").addEventListener("click", save);
  by("load").addEventListener("change", async event => {
    if (event.target.files.length) load(await event.target.files[0].text());
    event.target.value = "";
    event.target.blur();  // keys are for labels again
  });
  by("form").addEventListener("submit", event => event.preventDefault());
  addEventListener("keydown", event => {
    if (event.target instanceof HTMLInputElement && event.target.type !== "file") {
      if (event.key === "Enter" || event.key === "Escape") event.target.blur();
      return;
    }
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.repeat && !event.key.startsWith("Arrow")) return;  // a key that is held would label place after place
    const key = event.key.toLowerCase(), k = data.classes.findIndex(each => each.key && each.key === key);
    if (key === "arrowleft" || key === "backspace") go(at - 1);
    else if (key === "arrowright") go(at + 1);
    else if (key === "x") cannotTell();
    else if (k >= 0) answer(Math.max(0, labelOf(data.points[at]).answers.indexOf(null)), k);
    else return;
    event.preventDefault();
  });
  addEventListener("beforeunload", event => { if (state.unsaved && !keeps()) event.preventDefault(); });

  const first = data.points.findIndex(point => !isAnswered(point));
  go(first < 0 ? 0 : first);
  document.documentElement.dataset.labels = "ready";
}
