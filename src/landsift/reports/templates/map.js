// A map of classes on a plane of MapLibre. All data is in the page; codes and confidences are deflated bytes in base64.

const JUDGED = [[198, 219, 239], [240, 201, 75], [224, 112, 30], [122, 48, 140]];  // sets of one class, of several, abstains, out of distribution
const SAID = [", one class in its set", ", several classes in its set", ", the model abstains", ", out of distribution"];
const RAMP = [[127, 39, 4], [253, 208, 162], [255, 247, 240]];  // confidence of 0, 50 and 100 %

async function inflated(text) {
  const bytes = Uint8Array.from(atob(text), letter => letter.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Response(stream).arrayBuffer();
}

function canvasOf(width, height) {
  const canvas = document.createElement("canvas");
  canvas.width = width;
  canvas.height = height;
  return canvas;
}

// A colour as a pixel of a canvas, whose bytes are red, green, blue and alpha.
function pixelOf(rgb, alpha = 255) {
  return new Uint32Array(new Uint8ClampedArray([...rgb, alpha]).buffer)[0];
}

function drawClasses(canvas, codes, classes, hidden) {
  const context = canvas.getContext("2d");
  const image = context.createImageData(canvas.width, canvas.height), pixels = new Uint32Array(image.data.buffer);
  const colours = new Uint32Array(Math.max(...classes.map(each => each.code)) + 1);
  for (const each of classes) if (!hidden.has(each.code)) colours[each.code] = pixelOf(each.rgb);
  for (let i = 0; i < codes.length; i++) pixels[i] = colours[codes[i]];
  context.putImageData(image, 0, 0);
}

function drawConfidence(canvas, confidence, codes, hidden) {
  const context = canvas.getContext("2d");
  const image = context.createImageData(canvas.width, canvas.height);
  for (let i = 0; i < codes.length; i++) {
    if (codes[i] === 0 || hidden.has(codes[i])) continue;
    const place = Math.min(confidence[i], 100) / 50, low = Math.min(Math.floor(place), 1);
    const rgb = RAMP[low].map((level, k) => level + (place - low) * (RAMP[low + 1][k] - level));
    image.data.set([...rgb, 255], 4 * i);
  }
  context.putImageData(image, 0, 0);
}

function drawTrust(canvas, trust, codes, hidden) {
  const context = canvas.getContext("2d");
  const image = context.createImageData(canvas.width, canvas.height), pixels = new Uint32Array(image.data.buffer);
  const colours = JUDGED.map(rgb => pixelOf(rgb));
  for (let i = 0; i < codes.length; i++) if (codes[i] && !hidden.has(codes[i])) pixels[i] = colours[trust[i]];
  context.putImageData(image, 0, 0);
}

async function drawPicture(canvas, source) {
  const image = new Image();
  image.src = source;
  await image.decode();
  canvas.width = image.naturalWidth;
  canvas.height = image.naturalHeight;
  canvas.getContext("2d").drawImage(image, 0, 0);
}

function length(metres) {
  return metres >= 1000 ? `${metres / 1000} km` : `${metres} m`;
}

function canMove() {
  return canvasOf(1, 1).getContext("webgl2") !== null;
}

// What the browser shows where it has no WebGL: the whole map, without moving and zooming.
function plainMap(box, shown) {
  const {width, height} = Object.values(shown.canvases).reduce((one, other) => one.width > other.width ? one : other);
  const canvas = canvasOf(width, height);
  canvas.className = "plain";
  box.replaceChildren(canvas);
  document.getElementById("readout").textContent =
    "This browser has no WebGL: the map is shown as a picture, without moving and zooming.";
  return () => {
    const context = canvas.getContext("2d");
    context.clearRect(0, 0, width, height);
    if (shown.scene && shown.canvases.scene) context.drawImage(shown.canvases.scene, 0, 0, width, height);
    context.globalAlpha = shown.opacity;
    context.imageSmoothingEnabled = false;
    context.drawImage(shown.canvases[shown.layer], 0, 0, width, height);
    context.globalAlpha = 1;
  };
}

// A map in a box. `frame`: what fills the screen; `tools`: whether there are buttons and a scale.
function movingMap(box, data, shown, onPlace, {frame = box, tools = true} = {}) {
  const fit = Math.log2(64 / 512 * Math.min(box.clientWidth, box.clientHeight));
  const largest = Math.min(22, Math.max(fit + 1, Math.log2(96 / (512 * data.cell))));
  const longitudes = data.corners.map(each => each[0]), latitudes = data.corners.map(each => each[1]);
  const bounds = [[Math.min(...longitudes), Math.min(...latitudes)], [Math.max(...longitudes), Math.max(...latitudes)]];
  const map = new maplibregl.Map({
    container: box, bounds, fitBoundsOptions: {padding: 16}, maxZoom: largest, minZoom: fit - 3, attributionControl: false,
    dragRotate: false, pitchWithRotate: false, touchPitch: false, renderWorldCopies: false, fadeDuration: 0,
    style: {version: 8, sources: {}, layers: []},
  });
  map.touchZoomRotate.disableRotation();
  map.keyboard.disableRotation();
  if (tools) {
    map.addControl(new maplibregl.NavigationControl({showCompass: false}));
    map.addControl(new maplibregl.FullscreenControl({container: frame}));
  }
  // Of squares whose side is a power of two MapLibre wants the mipmaps, which canvases have none of: they would be black.
  const twice = {};
  const textureOf = (name, canvas) => {
    const side = canvas.width;
    if (side !== canvas.height || side & (side - 1)) return canvas;
    const wide = twice[name] ??= canvasOf(2 * side, side), context = wide.getContext("2d");
    context.imageSmoothingEnabled = false;
    context.clearRect(0, 0, 2 * side, side);
    context.drawImage(canvas, 0, 0, 2 * side, side);
    return wide;
  };
  const update = () => {
    for (const [name, drawn] of Object.entries(shown.canvases)) {
      const canvas = textureOf(name, drawn);
      if (!map.getSource(name)) {
        const coordinates = name === "scene" ? data.scene.corners : data.corners;
        map.addSource(name, {type: "canvas", canvas, coordinates, animate: false});
        map.addLayer({id: name, type: "raster", source: name, paint: {
          "raster-fade-duration": 0, "raster-resampling": name === "scene" ? "linear" : "nearest"}});
      }
      map.setLayoutProperty(name, "visibility", name === shown.layer || (name === "scene" && shown.scene) ? "visible" : "none");
      if (name !== "scene") map.setPaintProperty(name, "raster-opacity", shown.opacity);
      map.getSource(name).play();  // copies the canvas once
      map.getSource(name).pause();
    }
    map.triggerRepaint();
  };
  const loaded = new Promise(resolve => map.once("load", resolve));
  map.on("mousemove", event => {
    const {x, y} = maplibregl.MercatorCoordinate.fromLngLat(event.lngLat), [a, b, c, d, e, f] = data.pixels;
    onPlace(a * x + b * y + c, d * x + e * y + f);
  });
  if (tools && data.metres) {
    const bar = document.createElement("div");
    bar.className = "scale";
    box.append(bar);
    const measure = () => {
      const perPixel = data.metres / (512 * 2 ** map.getZoom()), most = 110 * perPixel;
      const power = 10 ** Math.floor(Math.log10(most));
      const metres = [5, 2, 1].map(k => k * power).find(each => each <= most);
      bar.style.width = `${metres / perPixel}px`;
      bar.textContent = length(metres);
    };
    map.on("zoom", measure);
    measure();
  }
  let spot;
  const go = place => {
    spot?.remove();
    const mark = document.createElement("div");
    mark.className = "spot";
    spot = new maplibregl.Marker({element: mark}).setLngLat(place).addTo(map);
    map.flyTo({center: place, zoom: Math.min(largest, Math.max(map.getZoom(), Math.log2(20 / (512 * data.cell))))});
    box.scrollIntoView({block: "nearest"});
  };
  // WebGL's canvas is empty on paper: what it shows is copied to one that is seen there alone.
  addEventListener("beforeprint", () => {
    const seen = map.getCanvas(), copy = canvasOf(seen.width, seen.height);
    map.redraw();
    copy.getContext("2d").drawImage(seen, 0, 0);
    copy.className = "printed";
    copy.style.clipPath = seen.style.clipPath;
    frame.style.setProperty("--shape", `${seen.width} / ${seen.height}`);
    seen.after(copy);
    addEventListener("afterprint", () => copy.remove(), {once: true});
  });
  return {update, loaded, go, map};
}

async function showMap(data) {
  const [height, width] = data.shape, box = document.getElementById("map"), hidden = new Set();
  const raw = await inflated(data.codes);
  const codes = data.wide ? new Uint16Array(raw) : new Uint8Array(raw);
  const confidence = data.confidence && new Uint8Array(await inflated(data.confidence));
  const trust = data.trust && new Uint8Array(await inflated(data.trust));
  const names = new Map(data.classes.map(each => [each.code, each.name]));
  const opacity = document.getElementById("opacity"), scene = document.getElementById("scene");
  const shown = {layer: "classes", opacity: opacity.value / 100, scene: true, canvases: {}};
  if (data.scene) await drawPicture(shown.canvases.scene = canvasOf(1, 1), data.scene.picture);
  shown.canvases.classes = canvasOf(width, height);
  if (confidence) shown.canvases.confidence = canvasOf(width, height);
  if (trust) shown.canvases.trust = canvasOf(width, height);
  const draw = () => {
    drawClasses(shown.canvases.classes, codes, data.classes, hidden);
    if (confidence) drawConfidence(shown.canvases.confidence, confidence, codes, hidden);
    if (trust) drawTrust(shown.canvases.trust, trust, codes, hidden);
  };
  const readout = (column, row) => {
    const [a, b, c, d, e, f] = data.affine, i = Math.floor(row) * width + Math.floor(column);
    const inside = column >= 0 && column < width && row >= 0 && row < height;
    const code = inside ? codes[i] : 0;
    const what = !inside ? "outside the map" : code ? names.get(code) : "no data";
    const sure = code && confidence ? `, confidence ${confidence[i]} %` : "";
    const judged = code && trust ? SAID[trust[i]] ?? "" : "";
    const digits = Math.abs(a) + Math.abs(b) < 0.1 ? 5 : 0;
    const [x, y] = [a * column + b * row + c, d * column + e * row + f];
    document.getElementById("readout").textContent = `${x.toFixed(digits)}, ${y.toFixed(digits)}: ${what}${sure}${judged}`;
  };
  draw();
  let update, go = () => {};
  if (canMove()) {
    const moving = movingMap(box, data, shown, readout);
    await moving.loaded;
    ({update, go} = moving);
    window.landsiftMap = moving.map;
  } else {
    update = plainMap(box, shown);
  }
  update();
  for (const radio of document.querySelectorAll("input[name=shown]")) radio.addEventListener("change", () => {
    shown.layer = radio.value;
    for (const [id, layer] of [["ramp", "confidence"], ["trust-key", "trust"]]) {
      const key = document.getElementById(id);
      if (key) key.hidden = shown.layer !== layer;
    }
    update();
  });
  opacity.addEventListener("input", () => { shown.opacity = opacity.value / 100; update(); });
  scene?.addEventListener("change", () => { shown.scene = scene.checked; update(); });
  for (const each of document.querySelectorAll("[data-code]")) each.addEventListener("change", () => {
    each.checked ? hidden.delete(Number(each.dataset.code)) : hidden.add(Number(each.dataset.code));
    draw();
    update();
  });
  for (const each of document.querySelectorAll("[data-place]"))
    each.addEventListener("click", () => go(data.places[each.dataset.place]));
  document.documentElement.dataset.map = "ready";
}
