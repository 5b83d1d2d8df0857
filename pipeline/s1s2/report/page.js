"use strict";
(() => {
  const root = document.documentElement;
  const dark = matchMedia("(prefers-color-scheme: dark)");
  document.getElementById("theme").addEventListener("click", () => {
    const now = root.dataset.theme ?? (dark.matches ? "dark" : "light");
    root.dataset.theme = now === "dark" ? "light" : "dark";
  });
  root.classList.add("scripted");

  const tabs = [...document.querySelectorAll("[data-gate]")];
  const choose = (key) => {
    for (const tab of tabs) {
      tab.setAttribute("aria-pressed", String(tab.dataset.gate === key));
      document.getElementById(`gate-${tab.dataset.gate}`).hidden = tab.dataset.gate !== key;
    }
  };
  for (const tab of tabs) tab.addEventListener("click", () => choose(tab.dataset.gate));
  if (tabs.length) choose(tabs[0].dataset.gate);

  const dialog = document.getElementById("compare");
  const stage = dialog.querySelector(".stage");
  const slider = stage.querySelector("input");
  const caption = dialog.querySelector(".caption");
  let shown = null;
  const cut = (percent) => {
    slider.value = percent;
    stage.style.setProperty("--cut", `${percent}%`);
  };
  const show = (button) => {
    shown = button;
    const [optical, radar] = button.querySelectorAll("img");
    for (const [name, from] of [[".under", optical], [".over", radar]]) {
      const image = stage.querySelector(name);
      image.src = from.src;
      image.alt = from.alt;
    }
    const said = button.parentElement.querySelector("figcaption").cloneNode(true);
    caption.replaceChildren(...said.childNodes);
    cut(50);
    if (!dialog.open) dialog.showModal();
  };
  const go = (step) => {
    const beside = [...shown.closest(".gallery").querySelectorAll(".both")];
    show(beside[(beside.indexOf(shown) + step + beside.length) % beside.length]);
  };
  const flip = () => cut(Number(slider.value) < 50 ? 100 : 0);
  for (const button of document.querySelectorAll(".both")) {
    button.addEventListener("click", () => show(button));
  }
  slider.addEventListener("input", () => cut(slider.value));
  dialog.addEventListener("click", (event) => {
    const control = event.target.dataset;
    if (event.target === dialog || control.close !== undefined) dialog.close();
    if (control.go) go(Number(control.go));
    if (control.flip !== undefined) flip();
  });
  dialog.addEventListener("keydown", (event) => {
    if (event.key === " ") { event.preventDefault(); flip(); }
    if (event.key === "n" || event.key === "PageDown") { event.preventDefault(); go(1); }
    if (event.key === "p" || event.key === "PageUp") { event.preventDefault(); go(-1); }
  });
})();
