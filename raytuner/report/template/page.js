"use strict";
// The page's behaviour: draws the plots as they come into view, filters, the table, a selected
// trial, light and dark, and (where it was served live) news.
(() => {
  const $ = (selector, root = document) => root.querySelector(selector);
  const $$ = (selector, root = document) => [...root.querySelectorAll(selector)];
  const root = document.documentElement;
  const PAGE = 25;

  let figures, trials; // the data: figures by id; columns of the table
  const state = { brush: null, sort: "value", down: null, page: 0, selected: null };
  let passing = null; // numbers of the trials that pass the filters; null for all
  const drawn = new Map(); // id of a plot -> the traces as they came

  // -- colours -------------------------------------------------------------------------------
  const css = (name) => getComputedStyle(root).getPropertyValue(name).trim();
  function template() {
    const axis = {
      gridcolor: css("--grid"), zerolinecolor: css("--grid"), linecolor: css("--line"),
      tickcolor: css("--line"), automargin: true,
    };
    return {
      layout: {
        font: { color: css("--front"), family: getComputedStyle(document.body).fontFamily, size: 13 },
        paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", xaxis: axis, yaxis: axis,
        modebar: { bgcolor: "rgba(0,0,0,0)", color: css("--quiet"), activecolor: css("--accent") },
        hoverlabel: { bgcolor: css("--card"), bordercolor: css("--line"), font: { color: css("--front") } },
      },
    };
  }
  const isDark = () => (root.dataset.theme
    || (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light")) === "dark";
  function recolour() {
    for (const id of drawn.keys()) draw(id);
  }
  $("#theme").addEventListener("click", () => {
    root.dataset.theme = isDark() ? "light" : "dark";
    try { localStorage.setItem("raytuner-theme", root.dataset.theme); } catch { /* no storage */ }
    recolour();
  });
  try { // a page opened from a file may have no storage
    const kept = localStorage.getItem("raytuner-theme");
    if (kept) root.dataset.theme = kept;
  } catch { /* the system's choice, then */ }
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", recolour);

  // -- plots ---------------------------------------------------------------------------------
  const TYPES = {
    f8: Float64Array, f4: Float32Array, i4: Int32Array, i2: Int16Array, i1: Int8Array,
    u4: Uint32Array, u2: Uint16Array, u1: Uint8Array,
  };
  // Numbers come as base64 of their bytes.
  function numbers(spec) {
    if (!spec || !spec.bdata) return spec;
    const bytes = Uint8Array.from(atob(spec.bdata), (c) => c.charCodeAt(0));
    return Array.from(new TYPES[spec.dtype](bytes.buffer));
  }
  let gl; // asked for when it is needed: starting WebGL may take a second
  function hasGl() {
    if (gl === undefined) {
      try { gl = !!document.createElement("canvas").getContext("webgl"); } catch { gl = false; }
    }
    return gl;
  }
  function unpack(trace) {
    for (const key of ["x", "y", "customdata"]) if (trace[key]) trace[key] = numbers(trace[key]);
    for (const d of trace.dimensions || []) d.values = numbers(d.values);
    if (trace.type === "parcoords") trace.line.color = numbers(trace.line.color);
    if (trace.type === "scattergl" && !hasGl()) trace.type = "scatter";
    return trace;
  }
  const PER_POINT = ["x", "y", "text", "customdata"];
  // The part of a trace whose trials pass. Traces without trials (models) stay as they are.
  function only(trace, keep) {
    if (!keep || !trace.customdata) return trace;
    const rows = [];
    trace.customdata.forEach((number, i) => { if (keep.has(number)) rows.push(i); });
    const part = { ...trace };
    for (const key of PER_POINT) if (Array.isArray(trace[key])) part[key] = rows.map((i) => trace[key][i]);
    return part;
  }
  function highlight(traces) {
    const x = [], y = [];
    for (const trace of traces) {
      if (!trace.customdata || !trace.x) continue;
      trace.customdata.forEach((number, i) => {
        if (number === state.selected) { x.push(trace.x[i]); y.push(trace.y[i]); }
      });
      x.push(null); y.push(null);
    }
    return {
      type: "scatter", x, y, mode: "lines+markers", name: `trial ${state.selected}`, hoverinfo: "skip",
      line: { color: css("--focus"), width: 3 },
      marker: { size: 10, color: css("--focus"), line: { color: css("--back"), width: 1.5 } },
    };
  }
  // On a dark ground the dark blue of the figures is hard to see.
  function lit(trace) {
    if (!isDark()) return trace;
    const part = { ...trace };
    for (const key of ["marker", "line"]) {
      if (trace[key] && trace[key].color === "#0072B2") part[key] = { ...trace[key], color: "#2f8fd3" };
    }
    return part;
  }
  function draw(id) {
    const element = document.getElementById(`plot-${id}`);
    if (!element || !figures[id]) return;
    if (!drawn.has(id)) drawn.set(id, figures[id].data.map(unpack));
    const whole = drawn.get(id);
    const isParallel = whole.some((t) => t.type === "parcoords");
    if (isParallel && !hasGl()) {
      element.textContent = "Parallel coordinates need WebGL, which this browser does not offer.";
      return;
    }
    const data = isParallel ? [parallel(whole[0])] : whole.map((t) => lit(only(t, passing)));
    if (state.selected !== null && !isParallel && whole.some((t) => t.customdata)) data.push(highlight(whole));
    const layout = { ...figures[id].layout, template: template(), uirevision: id };
    const isNarrow = innerWidth < 700;
    if (isNarrow) {
      layout.margin = { ...layout.margin, l: 48, r: 8 };
      layout.legend = { ...layout.legend, font: { size: 11 } };
      layout.dragmode = false; // a finger on a plot scrolls the page
    }
    const fresh = !element.classList.contains("js-plotly-plot");
    Plotly.react(element, data, layout, {
      responsive: true, displaylogo: false, displayModeBar: isNarrow ? false : "hover",
      // Named one by one: among Plotly's own choice is one that uploads the chart.
      modeBarButtons: [isParallel ? ["toImage"]
        : ["toImage", "zoom2d", "pan2d", "zoomIn2d", "zoomOut2d", "resetScale2d"]],
    });
    if (!fresh) return;
    element.on("plotly_click", (event) => {
      const number = event.points[0] && event.points[0].customdata;
      if (typeof number === "number") select(number);
    });
    if (isParallel) element.on("plotly_restyle", () => brushed(element));
  }
  // Lines of trials that do not pass are taken out; brushes stay.
  function parallel(trace) {
    const element = document.getElementById("plot-parallel");
    const brushes = (element.data && element.data[0].dimensions || []).map((d) => d.constraintrange);
    const keep = filtered(false);
    const rows = trace.customdata.map((n, i) => i).filter((i) => !keep || keep.has(trace.customdata[i]));
    return {
      ...trace,
      labelfont: { color: css("--front") }, tickfont: { color: css("--quiet") },
      unselected: { line: { color: css("--line"), opacity: 0.25 } },
      line: { ...trace.line, cmin: 0, cmax: 1, color: rows.map((i) => trace.line.color[i]) },
      dimensions: trace.dimensions.map((d, j) => ({
        ...d, values: rows.map((i) => d.values[i]),
        range: d.range || extent(d.values),
        ...(brushes[j] ? { constraintrange: brushes[j] } : {}),
      })),
    };
  }
  function extent(values) {
    const low = values.reduce((a, b) => Math.min(a, b)), high = values.reduce((a, b) => Math.max(a, b));
    const room = (high - low) * 0.02 || 1;
    return [low - room, high + room];
  }
  function brushed(element) {
    const ranges = element.data[0].dimensions.map((d) => d.constraintrange);
    const trace = drawn.get("parallel")[0];
    if (!ranges.some(Boolean)) state.brush = null;
    else {
      state.brush = new Set(trace.customdata.filter((number, i) => ranges.every((range, j) => {
        if (!range) return true;
        const value = trace.dimensions[j].values[i];
        const parts = Array.isArray(range[0]) ? range : [range];
        return parts.some(([low, high]) => low <= value && value <= high);
      })));
    }
    refilter(["parallel"]);
  }
  const watcher = new IntersectionObserver((entries) => {
    for (const entry of entries) {
      if (!entry.isIntersecting) continue;
      watcher.unobserve(entry.target);
      draw(entry.target.dataset.plot);
    }
  }, { rootMargin: "200px" });
  function watch() {
    for (const element of $$("[data-plot]")) {
      const figure = figures[element.dataset.plot];
      if (figure) element.style.minHeight = `${figure.layout.height}px`;
      watcher.observe(element);
    }
  }
  addEventListener("beforeprint", () => { for (const e of $$("[data-plot]")) if (e.offsetParent) draw(e.dataset.plot); });

  // -- tabs: of a group of plots one is shown ----------------------------------------------------
  function showTabs(name, value) {
    for (const part of $$(`[data-tab^="${name}="]`)) part.hidden = part.dataset.tab !== `${name}=${value}`;
  }
  document.addEventListener("change", (event) => {
    const { name, value, type } = event.target;
    if (type === "radio" || event.target.tagName === "SELECT") showTabs(name, value);
    if (name === "state") refilter();
  });

  // -- filters ---------------------------------------------------------------------------------
  const OPERATORS = {
    "<=": (a, b) => a <= b, ">=": (a, b) => a >= b, "!=": (a, b) => a !== b,
    "<": (a, b) => a < b, ">": (a, b) => a > b, "=": (a, b) => a === b,
  };
  function columnOf(name) {
    const wanted = name.toLowerCase();
    const plain = { trial: "number", state: "state", t: "t", origin: "origin", reason: "reason", seconds: "seconds" };
    for (const [key, values] of Object.entries(trials.config)) if (key.toLowerCase() === wanted) return values;
    for (const [key, values] of Object.entries(trials.metrics)) if (key.toLowerCase() === wanted) return values;
    if (wanted === trials.metric.toLowerCase() || wanted === "value") return trials.value;
    if (wanted === trials.time_attr.toLowerCase()) return trials.t;
    return plain[wanted] ? trials[plain[wanted]] : null;
  }
  function condition(part) {
    const match = part.match(/^(.+?)\s*(<=|>=|!=|<|>|=)\s*(.+)$/);
    const column = match && columnOf(match[1]);
    if (column) {
      const [, , operator, wanted] = match;
      const number = Number(wanted);
      return (i) => {
        const value = column[i];
        if (value === null) return false;
        if (typeof value === "number" && !Number.isNaN(number)) return OPERATORS[operator](value, number);
        return OPERATORS[operator](String(value).toLowerCase(), wanted.toLowerCase());
      };
    }
    const wanted = part.toLowerCase();
    return (i) => rowText(i).toLowerCase().includes(wanted);
  }
  const rowText = (i) => [
    trials.number[i], trials.words[trials.state[i]], trials.value[i], trials.origin[i], trials.reason[i],
    ...Object.entries(trials.config).map(([name, values]) => `${name}=${values[i]}`),
  ].join(" ");
  // Numbers of the trials that pass; null where all do.
  function filtered(withBrush = true) {
    const boxes = $$('#filters input[name="state"]');
    const off = new Set(boxes.filter((b) => !b.checked).map((b) => b.value));
    const parts = $("#query").value.split(",").map((p) => p.trim()).filter(Boolean).map(condition);
    const brush = withBrush ? state.brush : null;
    if (!off.size && !parts.length && !brush) return null;
    const keep = new Set();
    trials.number.forEach((number, i) => {
      if (off.has(trials.state[i]) || (brush && !brush.has(number))) return;
      if (parts.every((passes) => passes(i))) keep.add(number);
    });
    return keep;
  }
  function refilter(except = []) {
    passing = filtered();
    state.page = 0;
    showTable();
    for (const id of drawn.keys()) if (!except.includes(id)) draw(id);
  }
  let typing;
  document.addEventListener("input", (event) => {
    if (event.target.id !== "query") return;
    clearTimeout(typing);
    typing = setTimeout(refilter, 150);
  });

  // -- the table -------------------------------------------------------------------------------
  function columns() {
    return [
      ["number", "trial", trials.number], ["state", "state", trials.state],
      ["value", trials.metric, trials.value],
      ...Object.entries(trials.metrics).slice(0, 4).map(([name, values]) => [`metric/${name}`, name, values]),
      ["t", trials.time_attr, trials.t],
      ...Object.entries(trials.config).map(([name, values]) => [`config/${name}`, name, values]),
      ["seconds", "seconds", trials.seconds], ["origin", "proposed by", trials.origin],
    ];
  }
  function order(a, b) {
    if (a === b) return 0;
    if (a === null) return 1; // what has no value comes last
    if (b === null) return -1;
    return typeof a === typeof b ? (a < b ? -1 : 1) : String(a) < String(b) ? -1 : 1;
  }
  function cell(text, tag = "td") {
    const element = document.createElement(tag);
    element.textContent = text;
    return element;
  }
  const shown = (value) => (value === null ? "–" : typeof value === "number" ? Number(value.toPrecision(5)).toString() : String(value));
  function showTable() {
    const all = columns();
    const head = document.createElement("tr");
    for (const [key, title] of all) {
      const th = cell("", "th");
      th.scope = "col";
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = title;
      button.dataset.sort = key;
      th.append(button);
      if (key === state.sort) th.setAttribute("aria-sort", state.down ? "descending" : "ascending");
      head.append(th);
    }
    const focused = document.activeElement && document.activeElement.dataset.sort;
    $("#table thead").replaceChildren(head);
    if (focused) { const again = $(`[data-sort="${CSS.escape(focused)}"]`); if (again) again.focus(); }
    const rows = trials.number.map((_, i) => i).filter((i) => !passing || passing.has(trials.number[i]));
    const values = (all.find(([key]) => key === state.sort) || all[0])[2];
    rows.sort((i, j) => {
      const a = values[i], b = values[j];
      if (a === null || b === null) return order(a, b);
      return (state.down ? -1 : 1) * order(a, b) || i - j;
    });
    const pages = Math.max(1, Math.ceil(rows.length / PAGE));
    state.page = Math.min(state.page, pages - 1);
    $("#table tbody").replaceChildren(...rows.slice(state.page * PAGE, (state.page + 1) * PAGE).map((i) => {
      const tr = document.createElement("tr");
      tr.classList.toggle("selected", trials.number[i] === state.selected);
      for (const [key, , column] of all) {
        if (key === "number") {
          const td = cell("");
          td.append(trialButton(column[i]));
          tr.append(td);
        } else if (key === "state") {
          const td = cell("");
          const dot = document.createElement("i");
          dot.style.background = trials.colours[column[i]];
          td.append(dot, trials.words[column[i]]);
          tr.append(td);
        } else tr.append(cell(shown(column[i])));
      }
      return tr;
    }));
    $("#page").textContent = `${state.page + 1} of ${pages}`;
    $("#previous").disabled = state.page === 0;
    $("#next").disabled = state.page === pages - 1;
    $("#matches").textContent = `${rows.length} of ${trials.number.length} trials`;
  }
  function trialButton(number) {
    const button = document.createElement("button");
    button.type = "button";
    button.className = "trial";
    button.dataset.trial = number;
    button.textContent = number;
    return button;
  }

  // -- a selected trial ------------------------------------------------------------------------
  function select(number) {
    state.selected = number;
    const panel = $("#detail");
    panel.hidden = number === null;
    if (number !== null) {
      const i = trials.number.indexOf(number);
      const box = document.createElement("div");
      const title = cell("", "h2");
      const close = document.createElement("button");
      close.type = "button";
      close.id = "close";
      close.textContent = "Close";
      title.append(cell(`Trial ${number}: ${trials.metric} ${shown(trials.value[i])} at ${trials.time_attr} ${shown(trials.t[i])}, ${trials.words[trials.state[i]]}`, "span"), close);
      const list = document.createElement("dl");
      const add = (name, value) => {
        const div = document.createElement("div");
        div.append(cell(name, "dt"), cell(value, "dd"));
        list.append(div);
      };
      for (const [name, values] of Object.entries(trials.metrics)) add(name, shown(values[i]));
      for (const [name, values] of Object.entries(trials.config)) add(name, shown(values[i]));
      add("proposed by", trials.origin[i]);
      add("seconds", shown(trials.seconds[i]));
      add("id", trials.id[i]);
      box.append(title, list);
      if (trials.reason[i]) box.append(cell(`Why it ended: ${trials.reason[i]}`, "p"));
      panel.replaceChildren(box);
    }
    showTable();
    for (const id of drawn.keys()) if (id !== "parallel") draw(id);
  }

  document.addEventListener("click", (event) => {
    const button = event.target.closest("button");
    if (!button) return;
    if (button.dataset.trial) {
      select(Number(button.dataset.trial));
    } else if (button.dataset.sort) {
      state.down = state.sort === button.dataset.sort && !state.down;
      state.sort = button.dataset.sort;
      state.page = 0;
      showTable();
    } else if (button.id === "close") select(null);
    else if (button.id === "previous") { state.page -= 1; showTable(); }
    else if (button.id === "next") { state.page += 1; showTable(); }
    else if (button.classList.contains("copy")) copy(button);
  });
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape" && state.selected !== null) select(null);
  });
  async function copy(button) {
    const text = $("pre", button.parentElement);
    try {
      await navigator.clipboard.writeText(text.textContent);
      button.textContent = "Copied";
    } catch { // a page from a file may not write to the clipboard: mark the text for Ctrl-C
      getSelection().selectAllChildren(text);
      button.textContent = "Selected";
    }
    setTimeout(() => { button.textContent = "Copy"; }, 1500);
  }

  // -- where one is in the page ------------------------------------------------------------------
  const places = new IntersectionObserver((entries) => {
    for (const entry of entries) {
      const link = $(`nav a[href="#${entry.target.id}"]`);
      if (link && entry.isIntersecting) {
        for (const other of $$("nav a[aria-current]")) other.removeAttribute("aria-current");
        link.setAttribute("aria-current", "true");
      }
    }
  }, { rootMargin: "-20% 0px -70% 0px" });

  // -- data, and news of it ------------------------------------------------------------------------
  function read() {
    ({ figures, trials } = JSON.parse($("#data").textContent));
    if (state.down === null) state.down = !trials.minimise;
    for (const section of $$("section")) places.observe(section);
    watch();
    passing = filtered();
    showTable();
  }
  function replace(html) {
    const kept = {
      query: $("#query").value,
      off: $$('#filters input[name="state"]').filter((b) => !b.checked).map((b) => b.value),
      over: ($('input[name="over"]:checked') || {}).value,
      pair: ($("#pair") || {}).selectedOptions ? $("#pair").selectedOptions[0].textContent : null,
      open: $$("details[open] summary").map((s) => s.textContent),
      focus: document.activeElement && document.activeElement.id,
      scroll: scrollY,
    };
    const main = $("#content");
    const next = document.createElement("template");
    next.innerHTML = html;
    // Plots that are drawn stay in the page, so that zoom and brushes do.
    for (const old of $$(".js-plotly-plot", main)) {
      const place = next.content.getElementById(old.id);
      if (place) place.replaceWith(old);
    }
    const again = [...drawn.keys()];
    drawn.clear();
    main.replaceChildren(next.content);
    $("#query").value = kept.query;
    for (const box of $$('#filters input[name="state"]')) box.checked = !kept.off.includes(box.value);
    if (kept.over) { $(`input[name="over"][value="${kept.over}"]`).checked = true; showTabs("over", kept.over); }
    if (kept.pair && $("#pair")) {
      const option = [...$("#pair").options].find((o) => o.textContent === kept.pair);
      if (option) { option.selected = true; showTabs("pair", option.value); }
    }
    for (const summary of $$("details summary")) summary.parentElement.open = kept.open.includes(summary.textContent);
    read();
    for (const id of again) draw(id);
    if (kept.focus && document.getElementById(kept.focus)) document.getElementById(kept.focus).focus({ preventScroll: true });
    scrollTo({ top: kept.scroll, behavior: "instant" });
  }
  async function follow() {
    const sign = $("#live");
    let version = root.dataset.live; // of what the page came with
    for (;;) {
      try {
        const answer = await fetch(`body${location.search}`, { headers: { "If-None-Match": version }, cache: "no-store" });
        if (answer.status === 200) {
          version = answer.headers.get("ETag");
          replace(await answer.text());
        }
        sign.textContent = answer.headers.get("X-Study") === "over" ? "over" : "live";
        sign.classList.toggle("lost", answer.status >= 400);
      } catch {
        sign.textContent = "lost";
        sign.classList.add("lost");
      }
      await new Promise((resolve) => setTimeout(resolve, 2000));
    }
  }
  read();
  root.dataset.ready = performance.now().toFixed(0);
  if ("live" in root.dataset) follow();
})();
