"use strict";
(() => {
  const PAGE = 60; // cards that are made at a time
  const FINE = 48; // side of a drawn evidence map, in pixels
  const VERDICTS = {
    fake: ["▲", "fake"],
    uncertain: ["?", "uncertain"],
    real: ["○", "real"],
    not_applicable: ["–", "not judged"],
    error: ["✕", "failed"],
  };
  const ALIKE = { soft: "real faces out of focus", grainless: "real faces without grain" };
  const ORDER = Object.keys(VERDICTS);
  const SVG = "http://www.w3.org/2000/svg";

  const at = (id) => document.getElementById(id);
  const config = JSON.parse(at("config").textContent);

  // Texts come from strangers' files: they become text nodes and attributes, never markup.
  function made(tag, attributes = {}, ...children) {
    const node = tag.startsWith("svg:") ? document.createElementNS(SVG, tag.slice(4)) : document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) {
      if (value !== null && value !== undefined && value !== false) node.setAttribute(name, value === true ? "" : value);
    }
    node.append(...children.filter((child) => child !== null && child !== ""));
    return node;
  }

  function badge(verdict) {
    const [sign, word] = VERDICTS[verdict];
    return made("span", { class: "badge", "data-verdict": verdict }, made("i", { "aria-hidden": "true" }, sign), word);
  }

  // What was found

  const faces = [];
  const lists = { failure: [], faceless: [], video: [] };
  for (const node of document.querySelectorAll("script.record")) {
    const record = JSON.parse(node.textContent);
    if (record.kind !== "picture") {
      lists[record.kind].push(record);
      continue;
    }
    for (const face of record.faces) {
      face.picture = record;
      face.place = faces.length;
      faces.push(face);
    }
  }

  const facesOf = (count) => `${count.toLocaleString("en")} face${count === 1 ? "" : "s"}`;
  const short = (name) => name.slice(name.lastIndexOf("/") + 1);
  const image = (id) => {
    const node = at(id);
    return node && `data:image/webp;base64,${node.textContent}`;
  };

  // Evidence: enlarged smoothly, then coloured; the weaker, the more transparent

  const palette = Uint8Array.from(config.colours.match(/../g), (pair) => parseInt(pair, 16));

  function cubic(distance) {
    const d = Math.abs(distance);
    const a = -0.75;
    if (d < 1) return ((a + 2) * d - (a + 3)) * d * d + 1;
    return d < 2 ? ((a * d - 5 * a) * d + 8 * a) * d - 4 * a : 0;
  }

  function stretched(values, count) {
    return Array.from({ length: count }, (_, index) => {
      const x = ((index + 0.5) * values.length) / count - 0.5;
      const first = Math.floor(x) - 1;
      let sum = null;
      for (let near = first; near < first + 4; near++) {
        const weight = cubic(x - near);
        const value = values[Math.min(values.length - 1, Math.max(0, near))];
        const part = Array.isArray(value) ? value.map((one) => one * weight) : value * weight;
        sum = sum === null ? part : Array.isArray(part) ? sum.map((one, i) => one + part[i]) : sum + part;
      }
      return sum;
    });
  }

  function colour(pixels, index, value, opacity) {
    const shade = Math.round(255 * Math.min(1, Math.max(0, value / (2 * config.full_scale) + 0.5)));
    for (let channel = 0; channel < 3; channel++) pixels[4 * index + channel] = palette[3 * shade + channel];
    pixels[4 * index + 3] = Math.round(255 * opacity);
  }

  function paint(canvas, evidence, softness) {
    canvas.width = canvas.height = FINE;
    const context = canvas.getContext("2d");
    const data = context.createImageData(FINE, FINE);
    stretched(evidence, FINE).forEach((row, y) => {
      stretched(row, FINE).forEach((value, x) => {
        const edge = Math.min(x, y, FINE - 1 - x, FINE - 1 - y) + 0.5;
        const inside = softness ? Math.min(1, edge / (softness * FINE)) : 1;
        colour(data.data, y * FINE + x, value, inside * config.opacity * Math.min(1, Math.abs(value) / config.opaque_from));
      });
    });
    context.putImageData(data, 0, 0);
    return canvas;
  }

  function scale() {
    const canvas = made("canvas", { class: "scale", width: 256, height: 1, "aria-hidden": "true" });
    const context = canvas.getContext("2d");
    const data = context.createImageData(256, 1);
    for (let x = 0; x < 256; x++) colour(data.data, x, (x / 255 - 0.5) * 2 * config.full_scale, 1);
    context.putImageData(data, 0, 0);
    return canvas;
  }

  function crop(face, alt) {
    const frame = made("span", { class: face.evidence ? "face judged" : "face", "data-verdict": face.verdict });
    const source = image(`face-${face.picture.line}-${face.index}`);
    if (source) frame.append(made("img", { src: source, alt, decoding: "async", width: config.side, height: config.side }));
    else frame.append(made("span", { class: "gone" }, face.picture.gone || "no thumbnail: only more suspicious faces have one"));
    return frame;
  }

  function addEvidence(frame, face) {
    if (!face.evidence || !frame.querySelector("img") || frame.querySelector("canvas")) return;
    frame.append(paint(made("canvas", { "aria-hidden": "true" }), face.evidence));
  }

  // Evidence on all cards is painted only as they come into view: it takes a millisecond each.
  const painter = new IntersectionObserver((entries) => {
    for (const { target, isIntersecting } of entries) {
      if (!isIntersecting) continue;
      painter.unobserve(target);
      addEvidence(target.firstElementChild, order[Array.prototype.indexOf.call(gallery.children, target.parentElement)]);
    }
  }, { rootMargin: "300px" });

  // Gallery

  const gallery = at("gallery");
  let order = [];
  let current = 0; // place in `order` of the card that Tab reaches

  const spoken = (face) =>
    [
      `Face ${face.index + 1} of ${short(face.picture.name)}: ${VERDICTS[face.verdict][1]}`,
      face.probability_text && `${face.probability_text} probability of being fake`,
      face.rate_text && `false-alarm rate ${face.rate_text}`,
      face.stands_out && "stands out from the other faces",
      face.reason,
    ].filter(Boolean).join("; ");

  function card(face, place) {
    const frame = crop(face, "");
    const button = made(
      "button",
      { type: "button", class: "card", "data-verdict": face.verdict, "aria-label": spoken(face), "aria-haspopup": "dialog", tabindex: place === current ? 0 : -1 },
      frame,
      made("span", { class: "top" }, badge(face.verdict), made("span", { class: "small" }, `${face.size} px`)),
      // Labelled: beside "real" a bare 3 % would be read as how real the face is.
      face.probability_text && made("span", { class: "small" }, "fake probability ", made("span", { class: "probability" }, face.probability_text)),
      made("span", { class: "small" }, face.rate_text ? `false-alarm rate ${face.rate_text}` : face.cause),
      face.relative === null ? null : made("span", { class: "small" }, `relative score ${face.relative.toFixed(1)}`),
      face.stands_out ? made("span", { class: "small outlier" }, "! stands out in its picture") : null,
      made("span", { class: "small name" }, `#${face.index + 1} of `, made("bdi", {}, short(face.picture.name))),
    );
    const draw = () => addEvidence(frame, face);
    button.addEventListener("pointerenter", draw);
    button.addEventListener("focus", draw);
    button.addEventListener("click", () => open(place));
    if (gallery.classList.contains("with-evidence")) painter.observe(button);
    return made("li", {}, button);
  }

  function grow(least = 0) {
    const start = gallery.childElementCount;
    const end = Math.min(order.length, Math.max(start + PAGE, least));
    const added = document.createDocumentFragment();
    for (let place = start; place < end; place++) added.append(card(order[place], place));
    gallery.append(added);
  }

  const button = (place) => gallery.children[place].firstElementChild;

  function reach(place, focus = true) {
    if (place >= gallery.childElementCount) grow(place + 1);
    if (current < gallery.childElementCount) button(current).tabIndex = -1;
    current = place;
    button(place).tabIndex = 0;
    if (focus) button(place).focus();
  }

  gallery.addEventListener("keydown", (event) => {
    if (!event.target.classList.contains("card") || event.ctrlKey || event.altKey || event.metaKey) return;
    const tops = Array.from(gallery.children, (item) => item.offsetTop);
    const columns = Math.max(1, tops.filter((top) => top === tops[0]).length);
    const step = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: columns, ArrowUp: -columns }[event.key];
    const target = event.key === "Home" ? 0 : event.key === "End" ? order.length - 1 : current + step;
    if (Number.isNaN(target)) return;
    event.preventDefault();
    if (target >= 0 && target < order.length) reach(target);
  });
  gallery.addEventListener("focusin", (event) => {
    const item = event.target.closest("li");
    if (item) reach(Array.prototype.indexOf.call(gallery.children, item), false);
  });
  const watcher = new IntersectionObserver(([entry]) => {
    if (!entry.isIntersecting || gallery.childElementCount >= order.length) return;
    grow();
    watch();
  }, { rootMargin: "1200px" });
  function watch() {
    // It reports changes only: to be told again of an end that is still near, it has to start afresh.
    watcher.unobserve(at("sentinel"));
    watcher.observe(at("sentinel"));
  }
  // Nobody scrolls on paper.
  addEventListener("beforeprint", () => {
    grow(order.length);
    if (!gallery.classList.contains("with-evidence")) return;
    order.forEach((face, place) => addEvidence(button(place).firstElementChild, face));
  });

  // Sorting and filtering

  // Faces without a value come last, whichever way the others are sorted.
  const keys = {
    rate: [(face) => face.rate, 1],
    probability: [(face) => face.probability, -1],
    relative: [(face) => face.relative, -1],
    verdict: [(face) => ORDER.indexOf(face.verdict), 1],
    reason: [(face) => face.cause || null, 1],
    size: [(face) => face.size, -1],
    name: [(face) => face.picture.name, 1],
  };
  const compare = new Intl.Collator("en", { numeric: true }).compare;
  const wanted = new Set(ORDER);

  function arrange() {
    const number = (id, otherwise) => (at(id).value === "" || !Number.isFinite(at(id).valueAsNumber) ? otherwise : at(id).valueAsNumber);
    const name = at("name").value.trim().toLowerCase().normalize();
    const [low, high, most] = [number("low", null), number("high", null), number("most", null)];
    const [relative, size, reason] = [number("relative", null), number("size", 0), at("reason").value];
    // A limit on a value leaves out the faces that have none.
    const within = (value, from, to) =>
      (from === null && to === null) || (value !== null && value >= (from ?? -Infinity) && value <= (to ?? Infinity));
    order = faces.filter(
      (face) =>
        wanted.has(face.verdict) &&
        (!name || face.picture.name.toLowerCase().normalize().includes(name)) &&
        within(face.probability, low === null ? null : low / 100, high === null ? null : high / 100) &&
        within(face.rate, null, most === null ? null : most / 100) &&
        within(face.relative, relative, null) &&
        face.size >= size &&
        (!reason || face.cause === reason),
    );
    const [key, sense] = keys[at("sort").value];
    const turned = at("direction").getAttribute("aria-pressed") === "true" ? -sense : sense;
    order.sort((a, b) => {
      const [x, y] = [key(a), key(b)];
      if (x === null || y === null) return (x === null) - (y === null) || a.place - b.place;
      return turned * (typeof x === "string" ? compare(x, y) : x - y) || a.place - b.place;
    });
    current = 0;
    gallery.replaceChildren();
    if (order.length) grow();
    else gallery.append(made("li", { class: "nothing" }, faces.length ? "No face fits these filters." : "No faces were found in pictures."));
    watch();
    const all = facesOf(faces.length);
    at("status").textContent = order.length === faces.length ? all : `${order.length.toLocaleString("en")} of ${all}`;
  }

  function toggle(node, pressed = node.getAttribute("aria-pressed") !== "true") {
    node.setAttribute("aria-pressed", String(pressed));
    return pressed;
  }

  const chips = ORDER.filter((verdict) => faces.some((face) => face.verdict === verdict)).map((verdict) => {
    const count = faces.filter((face) => face.verdict === verdict).length;
    const [sign, word] = VERDICTS[verdict];
    const chip = made("button", { type: "button", "data-verdict": verdict, "aria-pressed": "true" }, made("span", { "aria-hidden": "true" }, sign), `${word} ${count.toLocaleString("en")}`);
    chip.addEventListener("click", () => {
      if (toggle(chip)) wanted.add(verdict);
      else wanted.delete(verdict);
      arrange();
    });
    return chip;
  });
  at("verdicts").append(...chips);
  const causes = [...new Set(faces.map((face) => face.cause).filter(Boolean))].sort(compare);
  at("reason").append(...causes.map((cause) => made("option", { value: cause }, cause)));

  const controls = at("controls");
  controls.hidden = !faces.length;
  controls.addEventListener("submit", (event) => event.preventDefault());
  // A field fires this when the mouse goes down elsewhere: if it replaced the cards, the one pressed would miss its click.
  controls.addEventListener("change", (event) => event.target.tagName !== "INPUT" && arrange());
  let typed = 0;
  controls.addEventListener("input", (event) => {
    if (event.target.tagName !== "INPUT") return;
    clearTimeout(typed);
    typed = setTimeout(arrange, 150);
  });
  controls.addEventListener("reset", () => {
    ORDER.forEach((verdict) => wanted.add(verdict));
    chips.forEach((chip) => toggle(chip, true));
    toggle(at("direction"), false);
    setTimeout(arrange); // the fields are emptied after this event
  });
  at("direction").addEventListener("click", () => {
    toggle(at("direction"));
    arrange();
  });
  at("evidence").addEventListener("click", () => {
    const shown = toggle(at("evidence"));
    gallery.classList.toggle("with-evidence", shown);
    if (shown) gallery.querySelectorAll(".card").forEach((node) => painter.observe(node));
    else painter.disconnect();
  });
  at("legend").querySelector("canvas").replaceWith(scale());
  for (const node of at("legend").querySelectorAll(".end")) node.textContent = config.full_scale;
  if (config.left_out) {
    at("shortened").hidden = false;
    at("shortened").textContent = config.left_out;
  }

  // One face and the picture that it comes from

  const detail = at("detail");
  let shown = null;
  let withEvidence = false;

  // The frames of `facefake scan --annotate`: whole, dashed, corners, dotted.
  function outline(face, line) {
    const [left, top, right, bottom] = face.box;
    if (face.verdict !== "real") return `M${left} ${top}H${right}V${bottom}H${left}Z`;
    const arm = Math.max(2 * line, (right - left) / 4);
    const corner = (x, y, dx, dy) => `M${x + dx * arm} ${y}H${x}V${y + dy * arm}`;
    return corner(left, top, 1, 1) + corner(right, top, -1, 1) + corner(right, bottom, -1, -1) + corner(left, bottom, 1, -1);
  }

  function boxes(picture) {
    const { width, height } = picture;
    const drawing = made("svg:svg", { viewBox: `0 0 ${width} ${height}`, preserveAspectRatio: "none", "aria-hidden": "true" });
    for (const face of picture.faces) {
      const group = made("svg:g", { "data-verdict": face.verdict, class: face === shown ? "chosen" : "" });
      if (withEvidence && face.evidence) {
        const href = paint(made("canvas"), face.evidence, 0.08).toDataURL();
        group.append(made("svg:image", { href, width: 1, height: 1, preserveAspectRatio: "none", transform: `matrix(${face.crop})` }));
      }
      const dashes = { uncertain: [4, 3], not_applicable: [1, 2] }[face.verdict];
      const [left, top, right, bottom] = face.box;
      const line = Math.min(Math.max(width, height) / 300, (right - left) / 12) * (face === shown ? 1.8 : 1);
      const path = { d: outline(face, line), "stroke-dasharray": dashes && dashes.map((dash) => dash * line).join(" ") };
      group.append(made("svg:path", { class: "rim", "stroke-width": 1.8 * line, ...path }), made("svg:path", { class: "line", "stroke-width": line, ...path }));
      const hit = made("svg:rect", { class: "box", x: left, y: top, width: right - left, height: bottom - top });
      hit.addEventListener("click", () => show(face));
      group.append(hit);
      drawing.append(group);
    }
    drawing.append(...drawing.querySelectorAll(".chosen")); // the last one is drawn on top
    return drawing;
  }

  function tag(face) {
    const [left, top, , bottom] = face.box;
    const { width, height } = face.picture;
    const above = top > height / 10;
    const node = made("span", { class: above ? "tag" : "tag below", "data-verdict": face.verdict, "aria-hidden": "true" }, `#${face.index + 1}`);
    const share = (part, whole) => `${(100 * Math.min(0.9, Math.max(0, part / whole))).toFixed(2)}%`;
    node.style.left = share(left, width);
    node.style.top = share(above ? top : bottom, height);
    return node;
  }

  function mark(frame, picture) {
    frame.querySelectorAll("svg, .tag").forEach((node) => node.remove());
    frame.append(boxes(picture), tag(shown));
  }

  function showPicture(picture) {
    const source = image(`picture-${picture.line}`);
    const frame = made("div", { class: "frame" });
    if (source) {
      const whole = made("img", { src: source, alt: `The picture ${picture.name} with its ${facesOf(picture.faces.length)} marked`, width: picture.shown[0], height: picture.shown[1] });
      frame.append(whole);
      mark(frame, picture);
    } else {
      frame.append(made("div", { class: "blank" }, picture.gone || "This picture is not in the report: others hold more suspicious faces."));
    }
    at("picture").replaceChildren(frame);
    if (source && picture.faces.some((face) => face.evidence)) {
      const button = made("button", { type: "button", id: "overlay", "aria-pressed": String(withEvidence) }, "Evidence on the picture");
      button.addEventListener("click", () => {
        withEvidence = toggle(button);
        mark(frame, picture);
      });
      at("picture").append(button);
    }
  }

  function facts(face) {
    const picture = face.picture;
    const list = made("dl");
    const tell = (name, value) => value && list.append(made("dt", {}, name), made("dd", {}, ...[value].flat()));
    tell("Verdict", badge(face.verdict));
    tell("Reason", face.reason);
    tell("Fake probability", face.probability_text);
    tell("False-alarm rate", face.rate_text && `${face.rate_text} of ${ALIKE[face.lack] ?? "real faces with as much or as little fine detail"} look at least as fake`);
    tell("Relative score", face.relative === null ? null : face.relative.toFixed(1) + (face.stands_out ? ": stands out from the other faces of this picture" : ""));
    tell("Raw score", face.logit === null ? null : `${face.logit.toFixed(2)} (logit)`);
    tell("Fine detail", face.sharpness === null || face.grain === null ? null : `sharpness ${face.sharpness.toFixed(2)}, grain ${face.grain.toFixed(2)}`);
    tell("Size", `${face.extent} pixels`);

    const both = made("div", { class: "pair" });
    const plain = crop(face, `Face ${face.index + 1}`);
    both.append(made("figure", {}, plain, made("figcaption", {}, face.probability === null ? "cut out, not judged" : "as the model saw it")));
    if (face.evidence && plain.querySelector("img")) {
      const over = crop(face, "The same face with its evidence map");
      over.classList.add("shown");
      addEvidence(over, face);
      both.append(made("figure", {}, over, made("figcaption", {}, "evidence map")));
    }
    const key = face.evidence ? at("legend").cloneNode(true) : null;
    if (key) {
      key.removeAttribute("id");
      key.querySelector("canvas").replaceWith(scale());
    }

    const whole = made("dl");
    const add = (name, value) => value && whole.append(made("dt", {}, name), made("dd", {}, ...[value].flat()));
    add("File", made("bdi", {}, picture.name));
    add("Size", `${picture.width} × ${picture.height} pixels`);
    add("Verdict", [badge(picture.verdict), " ", picture.summary]);
    add("Fake probability", picture.probability_text);
    add("False-alarm rate", picture.rate_text && `${picture.rate_text}, for pictures with as many faces`);
    add("Reason", picture.reason);
    add("Origin", picture.provenance);
    add("Notes", picture.warnings.join("; "));
    add("Model", picture.model);

    const siblings = made("ul", { class: "siblings", role: "list", "aria-label": "Faces in this picture" });
    for (const other of picture.faces) {
      const [sign, word] = VERDICTS[other.verdict];
      const chip = made("button", { type: "button", class: "siblings-face", "data-verdict": other.verdict, "aria-label": `Face ${other.index + 1}, ${word}`, "aria-current": other === face ? "true" : null }, `${sign} ${other.index + 1}`);
      chip.addEventListener("click", () => {
        show(other);
        at("whole").querySelector('[aria-current="true"]').focus();
      });
      siblings.append(made("li", {}, chip));
    }
    at("facts").replaceChildren(both, ...(key ? [key] : []), list);
    at("whole").replaceChildren(made("h3", {}, "Faces in this picture"), siblings, made("h3", {}, "The picture"), whole);
  }

  function show(face) {
    const before = shown;
    const focused = document.activeElement;
    shown = face;
    const place = order.indexOf(face);
    if (place >= 0) reach(place, false);
    at("detail-heading").textContent = `Face ${face.index + 1} of ${short(face.picture.name)}`;
    at("previous").disabled = current === 0;
    at("next").disabled = current >= order.length - 1;
    if (before && before.picture === face.picture && at("picture").querySelector("svg")) {
      mark(at("picture").firstElementChild, face.picture);
    } else {
      showPicture(face.picture);
    }
    facts(face);
    keepFocus(focused);
  }

  // What had the focus may be gone or disabled now, and with it a keyboard user's place.
  function keepFocus(focused) {
    const now = document.activeElement;
    if (!detail.open || (detail.contains(now) && !now.disabled)) return;
    const again = focused.id && at(focused.id);
    (again && detail.contains(again) && !again.disabled ? again : at("close")).focus();
  }

  function open(place) {
    shown = null;
    show(order[place]);
    detail.showModal();
    detail.scrollTop = 0;
  }

  function step(by) {
    const place = current + by;
    if (place < 0 || place >= order.length) return;
    reach(place, false);
    show(order[place]);
  }

  function close() {
    if (detail.open) detail.close();
    for (const id of ["picture", "whole", "facts"]) at(id).replaceChildren();
    // The browser has just put the focus back on the card that opened it.
    const place = order.indexOf(shown);
    if (place >= 0) reach(place);
    shown = null;
  }

  at("previous").addEventListener("click", () => step(-1));
  at("next").addEventListener("click", () => step(1));
  at("close").addEventListener("click", close);
  document.addEventListener("keydown", (event) => {
    if (!detail.open || event.ctrlKey || event.altKey || event.metaKey) return;
    if (event.key === "ArrowLeft") step(-1);
    else if (event.key === "ArrowRight") step(1);
    else return;
    event.preventDefault();
  });
  let pressed = null;
  detail.addEventListener("pointerdown", (event) => (pressed = event.target));
  // On the backdrop, unless a text selection that began inside ends there.
  detail.addEventListener("click", (event) => event.target === detail && pressed === detail && close());
  detail.addEventListener("cancel", (event) => {
    event.preventDefault();
    close();
  });
  // This event comes late: a key may have been pressed since, or another face opened.
  detail.addEventListener("close", () => shown && !detail.open && close());

  // What is not in the gallery: made when first opened

  function table(id, title, headers, records, cells) {
    const section = at(id);
    if (!records.length) return;
    section.hidden = false;
    section.querySelector("summary").textContent = title;
    section.addEventListener("toggle", () => {
      const body = section.querySelector(".scroll");
      if (body.childElementCount) return;
      body.tabIndex = 0;
      body.setAttribute("role", "region");
      body.setAttribute("aria-label", title);
      const head = made("tr", {}, ...headers.map((header) => made("th", { scope: "col" }, header)));
      const rows = records.map((record) => made("tr", {}, ...cells(record).map((cell) => made("td", {}, cell || ""))));
      body.append(made("table", {}, made("thead", {}, head), made("tbody", {}, ...rows)));
    });
  }

  const name = (record) => made("bdi", {}, record.name);
  const counted = (kind, what) => `${what} (${config.totals[kind].toLocaleString("en")}${config.totals[kind] > lists[kind].length ? `, of which ${lists[kind].length.toLocaleString("en")} are listed` : ""})`;
  table("failures", counted("failure", "What could not be analysed"), ["File", "Kind", "Reason"], lists.failure, (r) => [name(r), r.error, r.message]);
  table("faceless", counted("faceless", "Pictures without a face"), ["File", "What was found", "Origin", "Notes"], lists.faceless, (r) => [name(r), r.summary, r.provenance, r.warnings.join("; ")]);
  table("videos", counted("video", "Videos"), ["File", "Verdict", "Fake probability", "Summary", "Notes"], lists.video, (r) => [name(r), badge(r.verdict), r.probability_text, r.summary, r.warnings.join("; ")]);

  arrange();
})();
