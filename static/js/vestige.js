// Small comforts on pages that work without them: copy, theme, local time, confirmation, keys.
"use strict";
(() => {
  const root = document.documentElement;
  const say = (text) => {
    const announcer = document.getElementById("announcer");
    if (announcer) announcer.textContent = text;
  };

  // Copy. Without the clipboard API (plain http on another host) the text is selected by hand.
  async function copy(button) {
    const text = button.dataset.copy;
    try {
      await navigator.clipboard.writeText(text);
    } catch {
      const area = document.createElement("textarea");
      area.value = text;
      area.className = "unseen";
      (button.closest("dialog") || document.body).append(area);
      area.select();
      document.execCommand("copy");
      area.remove();
      button.focus();
    }
    button.classList.add("copied");
    say("Copied");
    setTimeout(() => button.classList.remove("copied"), 1600);
  }

  // Theme. A cookie, so that the server writes it into the page and nothing flashes.
  function switchTheme() {
    const dark = root.dataset.theme
      ? root.dataset.theme === "dark"
      : matchMedia("(prefers-color-scheme: dark)").matches;
    root.dataset.theme = dark ? "light" : "dark";
    document.cookie = `vestige_theme=${root.dataset.theme}; path=/; max-age=31536000; samesite=lax`;
    say(`${root.dataset.theme} colours`);
  }

  // The page shows UTC; the reader's own time comes on hover.
  function localTime(time) {
    if (time.dataset.local) return;
    time.dataset.local = "shown";
    const own = new Date(time.dateTime).toLocaleString([], {
      dateStyle: "medium",
      timeStyle: "medium",
    });
    const zone = Intl.DateTimeFormat().resolvedOptions().timeZone;
    time.title = [time.title, `${own} in your time (${zone})`].filter(Boolean).join("\n");
  }

  // Confirmation of what cannot be undone.
  function askFirst(event) {
    const button = event.submitter;
    const form = event.target;
    const question = button?.dataset.confirm || form.dataset.confirm;
    const ticked = button?.dataset.confirmIf;
    const dialog = document.getElementById("confirm-dialog");
    if (!question || !dialog || form.dataset.confirmed) return;
    // Nothing is ticked: there is nothing to ask, and the server says so.
    if (ticked && !form.querySelector(`[name="${ticked}"]:checked`)) return;
    event.preventDefault();
    event.stopPropagation();
    document.getElementById("confirm-question").textContent = question;
    const yes = dialog.querySelector("[data-confirm-yes]");
    yes.textContent = button?.textContent.trim() || "Confirm";
    yes.className = button?.classList.contains("danger") ? "danger" : "";
    dialog.returnValue = "no";
    dialog.addEventListener(
      "close",
      () => {
        if (dialog.returnValue !== "yes") return;
        form.dataset.confirmed = "yes";
        form.requestSubmit(button);
        delete form.dataset.confirmed;
      },
      { once: true },
    );
    dialog.showModal();
  }

  const boxes = (form, name) => [...form.querySelectorAll(`input[name="${name}"]`)];

  function closeMenus(except) {
    for (const menu of document.querySelectorAll("details.menu[open]")) {
      if (menu !== except) menu.open = false;
    }
  }

  const shortcutsOn = () => localStorage.getItem("vestige_shortcuts") !== "off";

  function onKey(event) {
    if (event.key === "Escape") {
      const open = document.querySelector("details.menu[open]");
      closeMenus();
      open?.querySelector("summary").focus();
      return;
    }
    const typing = event.target.closest("input, textarea, select, [contenteditable], dialog");
    if (typing || event.ctrlKey || event.metaKey || event.altKey || !shortcutsOn()) return;
    if (event.key === "/") {
      const search = document.querySelector(
        "[data-search], main input[type=search], .filters input",
      );
      if (search) {
        event.preventDefault();
        search.focus();
        search.select?.();
      }
    } else if (event.key === "?") {
      const dialog = document.getElementById("shortcuts");
      if (dialog) {
        event.preventDefault();
        dialog.showModal();
      }
    }
  }

  document.addEventListener("click", (event) => {
    const button = event.target.closest("[data-copy]");
    if (button) copy(button);
    if (event.target.closest("[data-theme-switch]")) switchTheme();
    if (event.target.closest("[data-print]")) print();
    closeMenus(event.target.closest("details.menu"));
  });
  document.addEventListener("mouseover", (event) => {
    const time = event.target.closest?.("time[data-local]");
    if (time) localTime(time);
  });
  document.addEventListener("submit", askFirst, true);
  document.addEventListener("keydown", onKey);
  document.addEventListener("change", (event) => {
    if (event.target.matches("[data-shortcuts-on]")) {
      localStorage.setItem("vestige_shortcuts", event.target.checked ? "on" : "off");
    }
    if (event.target.matches("[data-tick-all]")) {
      for (const box of boxes(event.target.form, event.target.dataset.tickAll))
        box.checked = event.target.checked;
    } else if (event.target.type === "checkbox") {
      const all = event.target.form?.querySelector(`[data-tick-all="${event.target.name}"]`);
      if (all) all.checked = boxes(all.form, event.target.name).every((box) => box.checked);
    }
    if (event.target.matches("[data-submit-on-change]")) event.target.form.requestSubmit();
  });

  // A polled region replaces itself: tell those who do not see it when its state changes.
  let told = document.querySelector("[data-announce]")?.dataset.announce;
  document.addEventListener("htmx:afterSettle", () => {
    const now = document.querySelector("[data-announce]")?.dataset.announce;
    if (now && now !== told) say(now);
    told = now;
  });

  const box = document.querySelector("[data-shortcuts-on]");
  if (box) box.checked = shortcutsOn();
  document.querySelector("[data-focus]")?.focus();
})();
