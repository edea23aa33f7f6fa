// Dead letters: looked at, and replayed or discarded by whoever has said who they are.

import { act, ask } from "./ask.js";
import { byId, keyed, make, mark, say } from "./dom.js";
import { clock, count, many } from "./words.js";

const body = byId("letter-table").tBodies[0];
const chosen = new Set();
let known = null;
let seen = "";

const signature = (status) => JSON.stringify([status.unreadable_records, status.sinks.map((sink) => [sink.name, sink.dead_letters, sink.replay_left])]);

/** Look again where their number has changed, or some are under way. */
export async function showLetters(status, anew = false) {
  const now = signature(status);
  if (now === seen && !anew) return;
  known = await ask("api/dead-letters");
  seen = now;
  const total = known.counts.reduce((sum, each) => sum + each.letters, 0);
  byId("letter-part").hidden = !total;
  byId("letter-actions").hidden = !known.may_act;
  mark(byId("letter-table"), "data-acts", String(known.may_act));
  const groups = known.counts.map((each) => `${each.sink ? `${count(each.letters)} ${each.sink}` : many(each.letters, "record", "records")}: ${each.reason}`).join(", ");
  const rest = total > known.letters.length ? ` The oldest ${known.letters.length} are shown; soteri-forwarder dead-letters list has all.` : "";
  const how = known.may_act ? "" : " To replay or discard here, set [server] token_file, or username and password_file; soteri-forwarder dead-letters does it too.";
  say(byId("letter-note"), total ? `${groups}.${rest}${how}` : "None: nothing was refused for good, and every record could be read.");
  const ids = new Set(known.letters.map((letter) => letter.id));
  for (const id of chosen) if (!ids.has(id)) chosen.delete(id);
  keyed(body, known.letters, (letter) => letter.id, row, (node, letter) => {
    const [, time, whose, reason, , tries] = node.cells;
    say(time, clock(letter.last_seen_at, Date.now()));
    say(whose, letter.sink || `record of ${letter.source}`);
    say(reason, letter.asked_at ? `${letter.reason}, being sent again` : letter.reason);
    say(node.querySelector("summary b"), letter.detail || "no detail");
    say(tries, count(letter.attempts));
  });
  showChosen();
}

function row(letter) {
  const box = make("input", { type: "checkbox", "aria-label": `Choose dead letter ${letter.id}` });
  box.addEventListener("change", () => {
    if (box.checked) chosen.add(letter.id);
    else chosen.delete(letter.id);
    showChosen();
  });
  const original = make("pre", { tabindex: "0" });
  const detail = make("details", {}, make("summary", {}, make("b")), make("p", { class: "id" }, letter.event_id ? `dead letter ${letter.id}, event ${letter.event_id}` : `dead letter ${letter.id}`), original);
  detail.addEventListener("toggle", async () => {
    if (!detail.open || original.textContent) return;
    const found = await ask(`api/dead-letters/${letter.id}`).catch((error) => ({ original: error.message, is_whole: true }));
    say(original, found.is_whole ? found.original : `${found.original}\n… (soteri-forwarder dead-letters show ${letter.id} has all)`);
  });
  const cells = [box, "", "", "", detail, ""].map((cell) => make("td", { role: "cell" }, cell));
  cells[0].className = "pick";
  return make("tr", { role: "row" }, ...cells);
}

function showChosen() {
  say(byId("chosen"), chosen.size ? `${count(chosen.size)} chosen` : "None chosen");
  for (const id of ["replay", "discard"]) byId(id).disabled = !chosen.size;
  const boxes = [...body.querySelectorAll("input")];
  for (const box of boxes) box.checked = chosen.has(Number(box.closest("tr").dataset.key));
  const all = byId("pick-all");
  all.checked = boxes.length > 0 && chosen.size === boxes.length;
  all.indeterminate = chosen.size > 0 && chosen.size < boxes.length;
}

async function done(verb, word) {
  const ids = [...chosen];
  try {
    const answer = await act(`api/dead-letters/${verb}`, { ids });
    chosen.clear();
    say(byId("letter-done"), [`${many(answer.letters, "dead letter is", "dead letters are")} ${word}.`, ...answer.said].join(" "));
  } catch (error) {
    say(byId("letter-done"), `That did not work: ${error.message}`);
  }
  showChosen();
  document.dispatchEvent(new CustomEvent("forwarder:changed"));
}

byId("pick-all").addEventListener("change", (event) => {
  for (const letter of known.letters) {
    if (event.target.checked) chosen.add(letter.id);
    else chosen.delete(letter.id);
  }
  showChosen();
});
byId("replay").addEventListener("click", () => done("replay", "tried again"));
byId("discard").addEventListener("click", () => {
  say(byId("sure-said"), `Discard ${many(chosen.size, "dead letter", "dead letters")}?`);
  say(byId("sure-more"), "They are forgotten for good: these events never come to that sink. To send them again, replay them instead.");
  byId("sure").returnValue = "";
  byId("sure").showModal();
});
byId("sure").addEventListener("close", () => {
  if (byId("sure").returnValue === "yes") done("discard", "discarded");
});
