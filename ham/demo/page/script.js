// The demo's page: records or takes files, asks the server, shows what it answers. It asks no other server.
"use strict";

const LONGEST_RECORDING_S = 60;
const RATE = 48000; // of what is recorded, as a file; the server converts it as it does any other
const AS_IT_SOUNDS = { echoCancellation: false, noiseSuppression: false, autoGainControl: false };
const ATTEMPTS = 5; // to ask a server that is busy
const AS_IT_IS = /\.(wav|flac|ogg|mp3|m4a)$/i; // what the server reads; anything else the browser must convert

const find = (selector, within = document) => within.querySelector(selector);
const recordings = {}; // side -> {file, picture}

function make(tag, text, name = "") {
  const element = document.createElement(tag);
  element.textContent = text;
  element.className = name;
  return element;
}

async function ask(path, body) {
  for (let attempt = 1; ; attempt++) {
    const reply = await fetch(path, body === undefined ? {} : { method: "POST", body }).catch(() => null);
    if (!reply) throw new Error("The demo does not answer; is it still running?");
    if (reply.status === 503 && attempt < ATTEMPTS) {
      await new Promise(done => setTimeout(done, 1000 * reply.headers.get("Retry-After")));
      continue;
    }
    const answer = await reply.json().catch(() => ({ error: "The demo's answer was cut." }));
    if (reply.ok && !answer.error) return answer;
    throw new Error(answer.error);
  }
}

// While something is asked, its button waits and a place says so; whatever goes wrong is said there.
async function during(button, place, words, work) {
  const ready = !button || !button.disabled;
  if (button) button.disabled = true;
  place.className = place.classList.contains("said") ? "said" : "";
  place.replaceChildren(make("p", words));
  try {
    place.replaceChildren(...await work());
  } catch (error) {
    place.replaceChildren(make("p", error.message, "problem"));
  }
  if (button) button.disabled = !ready;
}

// ---- recordings

async function toWav(blob) {
  const decoded = await new OfflineAudioContext(1, 1, RATE).decodeAudioData(await blob.arrayBuffer());
  const count = decoded.length, wav = new DataView(new ArrayBuffer(44 + 2 * count));
  const text = (at, word) => [...word].forEach((char, i) => wav.setUint8(at + i, char.charCodeAt(0)));
  text(0, "RIFF"), wav.setUint32(4, 36 + 2 * count, true), text(8, "WAVEfmt "), wav.setUint32(16, 16, true);
  wav.setUint16(20, 1, true), wav.setUint16(22, 1, true), wav.setUint32(24, RATE, true);
  wav.setUint32(28, 2 * RATE, true), wav.setUint16(32, 2, true), wav.setUint16(34, 16, true);
  text(36, "data"), wav.setUint32(40, 2 * count, true);
  const channels = Array.from({ length: decoded.numberOfChannels }, (_, i) => decoded.getChannelData(i));
  for (let i = 0; i < count; i++) {
    const mean = channels.reduce((sum, channel) => sum + channel[i], 0) / channels.length;
    wav.setInt16(44 + 2 * i, 32767 * Math.max(-1, Math.min(1, mean)), true);
  }
  return new Blob([wav], { type: "audio/wav" });
}

function take(side, file, name) {
  const card = find("#" + side), said = find(".said", card);
  delete recordings[side];
  find(".heard", card).hidden = true;
  for (const answer of [find("#answer"), find("#said")]) answer.replaceChildren(); // they were of other recordings
  return during(null, said, "Listening …", async () => {
    if (!AS_IT_IS.test(name)) {
      file = await toWav(file).catch(() => {
        throw new Error(`${name} is not audio that this browser can read; choose a wav, flac, ogg, mp3 or m4a file.`);
      });
    }
    if (file.size > document.body.dataset.mostBytes) {
      throw new Error(`${name} is too large: expected at most ${document.body.dataset.mostBytes / 1e6} MB.`);
    }
    const { quality, picture } = await ask("hear", file);
    recordings[side] = { file, picture };
    show(card, file, quality);
    return [make("span", name)];
  }).finally(refresh);
}

function show(card, file, quality) {
  const audio = find("audio", card), snr = quality.snr_db.toFixed(0);
  URL.revokeObjectURL(audio.src);
  audio.src = URL.createObjectURL(file);
  find(".end", card).textContent = quality.duration_s.toFixed(1) + " s";
  const facts = [make("li", `${quality.speech_s.toFixed(1)} s of speech, ${snr} dB above the noise.`)];
  quality.problems.forEach(problem => facts.push(make("li", problem.text, "problem")));
  find(".facts", card).replaceChildren(...facts);
  find(".heard", card).hidden = false;
  paint(card.id);
}

function paint(side) {
  const { low, high, columns, rows, spectrogram } = recordings[side].picture;
  const colour = getComputedStyle(document.body).getPropertyValue("--mark");
  const wave = find(`#${side} .wave`), lines = wave.getContext("2d");
  const peak = Math.max(0.01, ...high, ...low.map(Math.abs)), step = wave.width / columns, middle = wave.height / 2;
  lines.clearRect(0, 0, wave.width, wave.height);
  lines.fillStyle = colour;
  low.forEach((bottom, at) => {
    const top = middle * (1 - high[at] / peak), height = middle * (high[at] - bottom) / peak;
    lines.fillRect(at * step, top, Math.max(step, 1), Math.max(height, 2));
  });
  const field = find(`#${side} .spectrum`), points = field.getContext("2d"), bytes = atob(spectrogram);
  [field.width, field.height] = [columns, rows];
  points.fillStyle = colour; // the ground shines through where it is quiet, so that one picture does for light and dark
  for (let at = 0; at < bytes.length; at++) {
    points.globalAlpha = (bytes.charCodeAt(at) / 255) ** 1.5;
    points.fillRect(at % columns, rows - 1 - Math.floor(at / columns), 1, 1);
  }
}

let recorder = null;

async function record(side) {
  const button = find(`#${side} .record`), said = find(`#${side} .said`);
  if (recorder) return recorder.stop();
  let stream;
  try {
    stream = await navigator.mediaDevices.getUserMedia({ audio: AS_IT_SOUNDS });
  } catch {
    return said.replaceChildren(make("span", "The browser gives no microphone: allow it, or choose a file.", "problem"));
  }
  const label = [...button.childNodes], pieces = [], start = performance.now();
  recorder = new MediaRecorder(stream);
  const clock = setInterval(() => {
    const seconds = (performance.now() - start) / 1000;
    said.textContent = `Recording, ${seconds.toFixed(0)} s. Speak for five seconds or more.`;
    if (seconds > LONGEST_RECORDING_S) recorder.stop();
  }, 250);
  recorder.ondataavailable = event => pieces.push(event.data);
  recorder.onstop = () => {
    clearInterval(clock);
    stream.getTracks().forEach(track => track.stop());
    recorder = null;
    button.classList.remove("on");
    button.replaceChildren(...label);
    take(side, new Blob(pieces), "Recorded here");
  };
  recorder.start();
  button.classList.add("on");
  button.textContent = "Stop recording " + side;
  refresh();
}

// ---- answers

const threshold = () => find("#threshold")?.value ?? ""; // which the server takes for none
const chosen = () => find("[name=side]:checked").value;

function refresh() {
  find("#verify").disabled = !(recordings.A && recordings.B);
  find("#identify").disabled = find("#enrol").disabled = !recordings[chosen()];
  document.querySelectorAll(".record").forEach(button => {
    button.disabled = !navigator.mediaDevices || (recorder !== null && !button.classList.contains("on"));
  });
}

function scale(score, threshold) {
  const line = make("div", "", "scale"), place = value => `${50 * (Math.max(-1, Math.min(1, value)) + 1)}%`;
  line.setAttribute("aria-hidden", "true");
  if (threshold !== null) line.append(make("i", ""));
  line.append(make("b", ""), make("span", "−1, unlike"), make("span", "alike, 1"));
  if (threshold !== null) find("i", line).style.left = place(threshold);
  find("b", line).style.left = place(score);
  return line;
}

const WORDS = { same: "One speaker", different: "Two speakers", cannot_say: "Cannot say" };

function verdict(found) {
  const shown = [make("p", WORDS[found.decision], "word")];
  if (found.score === null) return [...shown, ...complaints(found.quality)];
  const score = `Score ${found.score.toFixed(3)}`;
  shown.push(scale(found.score, found.threshold));
  shown.push(make("p", found.threshold === null ? `${score}. No threshold: ${found.threshold_from}.`
    : `${score}; from ${found.threshold.toFixed(3)} on they count as one speaker (${found.threshold_from}).`));
  if (found.llr !== null) shown.push(make("p", evidence(found.llr)));
  return [...shown, ...complaints(found.quality)];
}

function evidence(llr) {
  const power = Math.abs(llr) / Math.LN10;
  const times = power > 6 ? "more than a million" : Number((10 ** power).toPrecision(2)).toLocaleString("en");
  return `This score is ${times} times as likely if they are ${llr > 0 ? "one speaker" : "two speakers"} as if they are not.`;
}

const complaints = quality => Object.entries(quality).flatMap(([side, { problems }]) =>
  problems.map(problem => make("p", `Recording ${side.toUpperCase()}: ${problem.text}`, "problem")));

function verify() {
  const place = find("#answer"), { A, B } = recordings;
  return during(find("#verify"), place, "Comparing …", async () => {
    const found = await ask(`verify?first=${A.file.size}&threshold=${threshold()}`, new Blob([A.file, B.file]));
    place.className = found.decision;
    return verdict(found);
  }).then(refresh);
}

function identify() {
  const place = find("#said");
  return during(find("#identify"), place, "Searching …", async () => {
    const found = await ask("identify", recordings[chosen()].file);
    place.className = found.decision;
    const word = found.name ?? (found.decision === "nobody" ? "None of them" : "Cannot say");
    const best = found.candidates.map(one => `${one.name} ${one.score.toFixed(3)}`).join(", ");
    const value = found.threshold === null ? "No threshold" : `Threshold ${found.threshold.toFixed(3)}`;
    return [
      make("p", word, "word"), make("p", best ? `Most alike: ${best}.` : "There is nobody to compare with."),
      make("p", `${value}: ${found.threshold_from}.`),
      ...found.quality.problems.map(problem => make("p", problem.text, "problem")),
    ];
  }).then(refresh);
}

function enrol(event) {
  event.preventDefault();
  const file = recordings[chosen()]?.file, name = find("#name");
  if (!file) return;
  return during(find("#enrol"), find("#said"), "Enrolling …", async () => {
    const done = await ask("enrol?name=" + encodeURIComponent(name.value), file);
    name.value = "";
    await list();
    const shown = [make("p", done.added ? `${done.name} is enrolled.` : `${done.name} had this recording already.`)];
    if (done.others.length) shown.push(make("p", `The same recording is enrolled as ${done.others.join(", ")}.`, "problem"));
    return shown;
  }).then(refresh);
}

function remove(button, name) {
  return during(button, find("#said"), "Removing …", async () => {
    await ask("remove?name=" + encodeURIComponent(name), "");
    await list();
    find("#name").focus();
    return [make("p", `${name} is forgotten.`)];
  });
}

async function list() {
  const { speakers } = await ask("speakers");
  find("#speakers").replaceChildren(...speakers.map(({ name, num_recordings, duration_s }) => {
    const row = make("tr", ""), head = make("th", name), cell = make("td", ""), button = make("button", "Remove");
    head.scope = "row";
    button.setAttribute("aria-label", "Remove " + name);
    button.addEventListener("click", () => remove(button, name));
    cell.append(button);
    row.append(head, make("td", num_recordings, "n"), make("td", duration_s.toFixed(1), "n"), cell);
    return row;
  }));
  find("table").hidden = !speakers.length;
  find("#nobody").hidden = speakers.length > 0;
}

// ---- beginning

for (const side of ["A", "B"]) {
  const card = find("#" + side);
  find(".record", card).addEventListener("click", () => record(side));
  find("[type=file]", card).addEventListener("change", ({ target }) => {
    if (target.files.length) take(side, target.files[0], target.files[0].name);
    target.value = ""; // so that the same file can be chosen again
  });
  card.addEventListener("dragover", event => (event.preventDefault(), card.classList.add("over")));
  card.addEventListener("dragleave", () => card.classList.remove("over"));
  card.addEventListener("drop", event => {
    event.preventDefault();
    card.classList.remove("over");
    const [file] = event.dataTransfer.files;
    if (file) take(side, file, file.name);
  });
  if (!navigator.mediaDevices) find(".said", card).textContent = "To record, open the page at localhost; files can be chosen anywhere.";
}
find("#verify").addEventListener("click", verify);
find("#threshold")?.addEventListener("change", () => find("#answer").childElementCount && verify());
find("#identify").addEventListener("click", identify);
find("#known").addEventListener("submit", enrol);
find("#known").addEventListener("change", refresh);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => Object.keys(recordings).forEach(paint));
list().catch(error => find("#said").replaceChildren(make("p", error.message, "problem")));
refresh();
