// Load the changing part again every second, and post the buttons without leaving the page.
const live = document.getElementById("live");
const note = document.getElementById("note");
async function refresh(request) {
  const answer = await fetch(request);
  // A button that is being pressed must not be replaced.
  if (!answer.ok || live.querySelector("form:active")) return;
  live.innerHTML = await answer.text();
  const said = live.querySelector(".note");
  if (said) {
    note.textContent = said.textContent;
    said.remove();
  }
}
document.addEventListener("submit", async (event) => {
  event.preventDefault();
  const form = event.target;
  form.querySelector("button").disabled = true;
  const body = new URLSearchParams(new FormData(form));
  try {
    await refresh(new Request(form.getAttribute("action"), {method: "POST", body, headers: {"X-Live": "1"}}));
  } finally {
    form.querySelector("button").disabled = false;
  }
});
setInterval(() => refresh("/live").catch(() => {}), 1000);
