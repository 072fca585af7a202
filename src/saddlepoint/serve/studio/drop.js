// Files and folders that are dropped or chosen are sent one by one; the page is told when all are here.
(() => {
  if (window.dropsAreHeard) return;
  window.dropsAreHeard = true;
  const hidden = path => path.split("/").some(part => part.startsWith(".") || part === "Thumbs.db");
  const within = async (entry, base) => {
    const path = base + entry.name;
    if (entry.isFile) return [[path, await new Promise((take, fail) => entry.file(take, fail))]];
    const reader = entry.createReader(), found = [];
    for (;;) {
      const part = await new Promise((take, fail) => reader.readEntries(take, fail));
      if (!part.length) return found;
      for (const inner of part) found.push(...await within(inner, path + "/"));
    }
  };
  const send = async (place, files) => {
    const words = place.querySelector("[data-words]"), usual = words.dataset.words, ticket = place.dataset.ticket;
    files = files.filter(([path]) => !hidden(path));
    let next = 0, sent = 0, problem = "";
    const worker = async () => {
      while (next < files.length && !problem) {
        const [path, file] = files[next++];
        try {
          const answer = await fetch(`/bring/${ticket}?path=${encodeURIComponent(path)}`, {method: "POST", body: file});
          if (!answer.ok) problem = await answer.text();
        } catch (error) { problem = `${path} could not be sent: ${error.message}`; }
        words.textContent = `${++sent} of ${files.length} sent`;
      }
    };
    await Promise.all([worker(), worker(), worker(), worker()]);
    words.textContent = usual;
    if (files.length) emitEvent("brought", {ticket, problem, files: files.length});
  };
  const place = event => event.target.closest && event.target.closest(".drop");
  document.addEventListener("dragover", event => {
    if (place(event)) { event.preventDefault(); place(event).classList.add("over"); }
  });
  document.addEventListener("dragleave", event => place(event) && place(event).classList.remove("over"));
  document.addEventListener("drop", async event => {
    const here = place(event);
    if (!here) return;
    event.preventDefault();
    here.classList.remove("over");
    const entries = [...event.dataTransfer.items].map(item => item.webkitGetAsEntry()).filter(Boolean);
    send(here, (await Promise.all(entries.map(entry => within(entry, "")))).flat());
  });
  document.addEventListener("change", event => {
    if (!place(event) || event.target.type !== "file") return;
    send(place(event), [...event.target.files].map(file => [file.webkitRelativePath || file.name, file]));
    event.target.value = "";
  });
  document.addEventListener("keydown", event => {
    if (event.target.matches && event.target.matches(".drop label") && ["Enter", " "].includes(event.key)) {
      event.preventDefault();
      event.target.click();
    }
  });
})();
