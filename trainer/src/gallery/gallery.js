"use strict";
const form = document.querySelector("form");
const main = document.querySelector("main");
const groups = Array.from(main.querySelectorAll("article"));
const order = new Map(groups.map((group, place) => [group, place]));
const number = (group, name) => Number(group.dataset[name]);
const orders = {
  step: (a, b) => order.get(a) - order.get(b),
  best: (a, b) => number(b, "mean") - number(a, "mean"),
  worst: (a, b) => number(a, "mean") - number(b, "mean"),
  spread: (a, b) => number(b, "spread") - number(a, "spread"),
  longest: (a, b) => number(b, "tokens") - number(a, "tokens"),
};
const show = () => {
  const { sort, step, kind, words } = Object.fromEntries(new FormData(form));
  const wanted = words.trim().toLowerCase();
  let shown = 0;
  for (const group of groups.toSorted((a, b) => orders[sort](a, b) || orders.step(a, b))) {
    const fits =
      (step === "" || group.dataset.step === step) &&
      (kind === "" || group.dataset.kind.split(" ").includes(kind)) &&
      (wanted === "" || group.textContent.toLowerCase().includes(wanted));
    group.hidden = !fits;
    shown += fits ? 1 : 0;
    main.append(group);
  }
  document.querySelector("#shown").textContent = `${shown} of ${groups.length} prompts`;
};
form.addEventListener("input", show);
form.addEventListener("submit", (event) => event.preventDefault());
show();
