// What a page does beside being a page: regions that follow the record, times that age, forms that are sent once.
// Everything here is extra: without it, each page and each form still works.

const root = document.documentElement;
const opened = performance.now();

/** Milliseconds of the system's own clock, which may run faster than this machine's. */
const now = () => Number(root.dataset.now) * 1000 + (performance.now() - opened) * Number(root.dataset.speed);

const UNITS = [["year", 31557600], ["month", 2629800], ["week", 604800], ["day", 86400], ["h", 3600], ["min", 60]];

function relative(at) {
  const distance = (at - now()) / 1000;
  const seconds = Math.abs(distance);
  for (const [unit, size] of UNITS) {
    if (seconds < size) continue;
    const count = Math.floor(seconds / size);
    const words = `${count} ${unit}${count > 1 && size > 3600 ? "s" : ""}`;
    return distance > 0 ? `in ${words}` : `${words} ago`;
  }
  return "now";
}

function age(within = document) {
  for (const time of within.querySelectorAll("time[datetime]:not([data-still])")) {
    const text = relative(Date.parse(time.dateTime));
    if (time.textContent !== text) time.textContent = text;
  }
}

/** Put new content into a region and keep the focus where it was. */
function replace(region, text) {
  const held = region.contains(document.activeElement) ? document.activeElement : null;
  const mark = held && (held.id ? `#${CSS.escape(held.id)}` : held.value ? `[name="${CSS.escape(held.name)}"][value="${CSS.escape(held.value)}"]` : null);
  region.innerHTML = text;
  if (mark) region.querySelector(mark)?.focus({ preventScroll: true });
}

function follow(main) {
  const pulse = document.getElementById("pulse");
  const say = (state, word) => {
    pulse.hidden = false;
    pulse.dataset.state = state;
    pulse.querySelector(".word").textContent = word;
  };
  let source = null;
  const begin = () => {
    source = new EventSource(main.dataset.live);
    source.onopen = () => say("live", "live");
    // EventSource comes again by itself, unless it was refused: then somebody has to sign in.
    source.onerror = () => say("lost", source.readyState === EventSource.CLOSED ? "not live" : "reconnecting");
    source.addEventListener("away", () => say("lost", "database away"));
    for (const region of main.querySelectorAll("[data-region]")) {
      source.addEventListener(region.dataset.region, (event) => {
        replace(region, event.data);
        say("live", "live");
      });
    }
  };
  // A page that nobody looks at asks for nothing.
  document.addEventListener("visibilitychange", () => {
    if (document.hidden) { source?.close(); source = null; say("lost", "paused"); }
    else if (!source) begin();
  });
  if (!document.hidden) begin();
}

document.addEventListener("submit", (event) => {
  const question = event.submitter?.dataset.confirm ?? event.target.dataset.confirm;
  if (question && !window.confirm(question)) { event.preventDefault(); return; }
  if (event.target.method === "post" && event.submitter) {
    // After the form has been read, or the button's own value would be left out.
    setTimeout(() => { event.submitter.disabled = true; }, 0);
  }
});
// A page that comes back from the browser's memory can be used again.
addEventListener("pageshow", () => { for (const button of document.querySelectorAll("button[disabled]:not([data-off])")) button.disabled = false; });

for (const chosen of document.querySelectorAll("select[data-go]")) chosen.addEventListener("change", () => chosen.form.requestSubmit());

document.querySelector(".alert[autofocus]")?.focus();
age();
setInterval(age, 30000);
const main = document.querySelector("main[data-live]");
if (main) follow(main);
