"use strict";
// Draws the plots as they come into view; filters, sorts and selects trials; follows a live study.
(() => {
  const $ = (selector, root = document) => root.querySelector(selector);
  const $$ = (selector, root = document) => [...root.querySelectorAll(selector)];
  const make = (tag, text = "", more = {}) =>
    Object.assign(document.createElement(tag), { textContent: text, ...more });
  const root = document.documentElement;
  const ROWS = 25; // on a page of the table
  const [NUMBER, STATE, VALUE] = [0, 1, 2]; // columns; the table hides the last two, id and reason

  let figures, trials, running; // the page's data: figures by id, the table's columns, whether the study runs
  let numbers; // of the trials, in the order of the rows
  let passing = null; // numbers of the trials that pass the query; null: all
  const state = { sort: VALUE, down: false, page: 0, selected: null };
  const drawn = new Set(); // ids of plots

  // -- plots ---------------------------------------------------------------------------------
  const pick = (values, rows) => rows.map((i) => values[i]);
  // A trace with the points of some trials. A trace without trials, such as the model's, is unchanged.
  function only(trace, keep) {
    if (!keep || !trace.customdata) return trace;
    const rows = [...trace.customdata.keys()].filter((i) => keep.has(trace.customdata[i]));
    const part = { ...trace };
    for (const key of ["x", "y", "base", "text", "customdata"]) if (Array.isArray(trace[key])) part[key] = pick(trace[key], rows);
    if (trace.dimensions) {
      part.dimensions = trace.dimensions.map((d) => ({ ...d, values: pick(d.values, rows) }));
      part.line = { ...trace.line, color: pick(trace.line.color, rows) };
    }
    return part;
  }
  function draw(id) {
    if (!figures[id]) return;
    const element = $(`#plot-${id}`);
    const isParallel = id === "parallel", isNarrow = innerWidth < 700;
    const traces = figures[id].data.map((trace) => only(trace, passing));
    const layout = { ...figures[id].layout, uirevision: id };
    if (isNarrow) {
      layout.margin = { ...layout.margin, l: 48, r: 8 };
      layout.dragmode = false; // a finger on a plot scrolls the page
    }
    Plotly.react(element, traces, layout, {
      responsive: true, displaylogo: false, displayModeBar: isNarrow ? false : "hover",
      // An explicit list: Plotly's default buttons include one that uploads the chart.
      modeBarButtons: [isParallel ? ["toImage"]
        : ["toImage", "zoom2d", "pan2d", "zoomIn2d", "zoomOut2d", "resetScale2d"]],
    });
    if (drawn.has(id)) return;
    drawn.add(id);
    element.on("plotly_click", ({ points: [point] }) => {
      if (typeof point.customdata === "number") select(point.customdata);
    });
  }
  const watcher = new IntersectionObserver((entries) => {
    for (const { isIntersecting, target } of entries) {
      if (!isIntersecting) continue;
      watcher.unobserve(target);
      draw(target.dataset.plot);
    }
  }, { rootMargin: "200px" });
  addEventListener("beforeprint", () => { for (const e of $$("[data-plot]")) if (e.offsetParent) draw(e.dataset.plot); });

  // -- filters ---------------------------------------------------------------------------------
  const OPERATORS = {
    "<=": (a, b) => a <= b, ">=": (a, b) => a >= b, "!=": (a, b) => a !== b,
    "<": (a, b) => a < b, ">": (a, b) => a > b, "=": (a, b) => a === b,
  };
  // Whether the trial of a row meets one condition of the query.
  function condition(part) {
    const [, name, operator, wanted] = part.match(/^(.+?)\s*(<=|>=|!=|<|>|=)\s*(.+)$/) || [];
    // The user's own columns come first: they win over a fixed column of the same name.
    const column = [...trials.columns.slice(VALUE), ...trials.columns].find(([title]) => title.toLowerCase() === name);
    if (!column) return (i) => trials.columns.some(([, values]) => String(values[i]).toLowerCase().includes(part));
    return (i) => {
      const value = column[1][i], number = Number(wanted);
      if (value === null) return false;
      if (typeof value === "number" && !Number.isNaN(number)) return OPERATORS[operator](value, number);
      return OPERATORS[operator](String(value).toLowerCase(), wanted);
    };
  }
  function filter() {
    const conditions = $("#query").value.toLowerCase().split(",").map((p) => p.trim()).filter(Boolean).map(condition);
    passing = conditions.length ? new Set(numbers.filter((_, i) => conditions.every((meets) => meets(i)))) : null;
  }
  function refilter() {
    filter();
    state.page = 0;
    showTable();
    for (const id of drawn) draw(id);
  }
  let typing;
  $("#query").addEventListener("input", () => {
    clearTimeout(typing);
    typing = setTimeout(refilter, 150);
  });

  // -- the table -------------------------------------------------------------------------------
  const shown = (value) => (typeof value === "number" ? String(Number(value.toPrecision(5))) : String(value ?? "–"));
  const trialButton = (number) => {
    const button = make("button", number, { type: "button", className: "trial" });
    button.dataset.trial = number;
    return button;
  };
  function order(a, b) {
    if (a === null || b === null) return (a === null) - (b === null); // rows without a value last
    const [x, y] = typeof a === typeof b ? [a, b] : [String(a), String(b)];
    return (state.down ? -1 : 1) * ((x > y) - (x < y));
  }
  function showTable() {
    const columns = trials.columns.slice(0, -2);
    const focused = document.activeElement.dataset.sort;
    $("#table thead").replaceChildren(make("tr"));
    $("#table thead tr").append(...columns.map(([name], key) => {
      const button = make("button", name, { type: "button" });
      button.dataset.sort = key;
      const th = make("th", "", { scope: "col" });
      if (key === state.sort) th.ariaSort = state.down ? "descending" : "ascending";
      th.append(button);
      return th;
    }));
    if (focused) $(`[data-sort="${focused}"]`).focus();
    const sorted = trials.columns[state.sort][1];
    const rows = [...numbers.keys()].filter((i) => !passing || passing.has(numbers[i]))
      .sort((i, j) => order(sorted[i], sorted[j]) || i - j);
    const pages = Math.max(1, Math.ceil(rows.length / ROWS));
    state.page = Math.min(state.page, pages - 1);
    $("#table tbody").replaceChildren(...rows.slice(state.page * ROWS, (state.page + 1) * ROWS).map((i) => {
      const tr = make("tr", "", { className: numbers[i] === state.selected ? "selected" : "" });
      tr.append(...columns.map(([, values], key) => {
        const td = make("td", key === NUMBER ? "" : shown(values[i]));
        if (key === NUMBER) td.append(trialButton(values[i]));
        if (key === STATE) td.prepend(make("i", "", { style: `background: ${trials.colours[values[i]]}` }));
        return td;
      }));
      return tr;
    }));
    $("#page").textContent = `${state.page + 1} of ${pages}`;
    $("#previous").disabled = state.page === 0;
    $("#next").disabled = state.page === pages - 1;
    $("#matches").textContent = `${rows.length} of ${numbers.length} trials`;
  }
  function select(number) {
    state.selected = number;
    const panel = $("#detail"), i = numbers.indexOf(number);
    panel.hidden = number === null;
    const list = make("dl");
    for (const [name, values] of number === null ? [] : trials.columns) {
      const pair = make("div");
      pair.append(make("dt", name), make("dd", shown(values[i])));
      list.append(pair);
    }
    const title = make("h2", `Trial ${number}`);
    title.append(make("button", "Close", { type: "button", id: "close" }));
    panel.replaceChildren(title, list);
    showTable();
  }

  // -- controls --------------------------------------------------------------------------------
  document.addEventListener("click", ({ target }) => {
    const button = target.closest("button");
    if (!button) return;
    if (button.dataset.trial) select(Number(button.dataset.trial));
    else if (button.dataset.sort) {
      const sort = Number(button.dataset.sort);
      Object.assign(state, { sort, down: state.sort === sort && !state.down, page: 0 });
      showTable();
    } else if (button.id === "close") select(null);
    else if (button.id === "previous") { state.page -= 1; showTable(); }
    else if (button.id === "next") { state.page += 1; showTable(); }
  });
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape" && state.selected !== null) select(null);
  });
  // Shows the chosen plot of a group.
  document.addEventListener("change", ({ target: { name, value } }) => {
    for (const part of $$(`[data-tab^="${name}="]`)) part.hidden = part.dataset.tab !== `${name}=${value}`;
  });

  // -- data and updates --------------------------------------------------------------------------
  function read() {
    ({ figures, trials, running } = JSON.parse($("#data").textContent));
    numbers = trials.columns[NUMBER][1];
    filter();
  }
  function update(html) {
    const news = new DOMParser().parseFromString(html, "text/html");
    $("#data").textContent = $("#data", news).textContent;
    $$(".news").forEach((part, i) => {
      const { value } = part;
      part.innerHTML = $$(".news", news)[i].innerHTML;
      if (value !== undefined) part.value = value; // the choice in a list
    });
    read();
    showTable();
    for (const id of drawn) draw(id);
  }
  async function follow() {
    const sign = $("#live");
    let version = root.dataset.live; // of the data in the page
    for (;;) {
      try {
        const answer = await fetch("body", { headers: { "If-None-Match": version }, cache: "no-store" });
        if (answer.status === 200) {
          version = answer.headers.get("ETag");
          update(await answer.text());
        }
        sign.textContent = running ? "live" : "ended";
        sign.classList.toggle("lost", answer.status >= 400);
      } catch {
        sign.textContent = "connection lost";
        sign.classList.add("lost");
      }
      await new Promise((resolve) => setTimeout(resolve, 2000));
    }
  }
  async function loadPlotly() {
    const packed = Uint8Array.from(atob($("#plotly").textContent), (byte) => byte.charCodeAt(0));
    const plain = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
    document.head.append(make("script", await new Response(plain).text()));
  }
  async function start() {
    read();
    state.down = !trials.minimise;
    showTable();
    for (const element of $$("[data-plot]")) {
      element.style.minHeight = `${figures[element.dataset.plot].layout.height}px`;
    }
    await loadPlotly();
    for (const element of $$("[data-plot]")) watcher.observe(element);
    root.dataset.ready = performance.now().toFixed(0);
    if ("live" in root.dataset) follow();
  }
  start();
})();
