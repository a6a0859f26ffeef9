// The printed page: all events without the controls. Of a long run of one stage only the first events are printed.

const MOST_PRINTED = 40;

function writeStory() {
  const story = byId("story");
  const parts = [];
  let section = -1;
  let list = null;
  let printed = 0;
  let left = 0;
  const close = () => {
    if (left > 0) list.append(el("li", { class: "more" }, `… ${thousands(left)} more events of this stage`));
    left = 0;
  };
  for (let row = 0; row < rowCount(); row++) {
    if (model.rows.section[row] !== section) {
      if (list) close();
      const sameStage = section >= 0 && model.sections[section].stage === sectionOf(row).stage;
      section = model.rows.section[row];
      const title = [stageTitle(row), sectionOf(row).name].filter((part) => part).join(" · ");
      list = el("ol", {});
      parts.push(el("h2", { class: stageClass(row) }, title));
      if (!sameStage) parts.push(el("p", { class: "note" }, stageOf(row).words));
      parts.push(list);
      printed = 0;
    }
    if (printed++ < MOST_PRINTED) {
      list.append(el("li", { value: model.rows.number[row] }, text(model.rows.text[row])));
    } else {
      left++;
    }
  }
  if (list) close();
  story.replaceChildren(...parts);
  story.hidden = false;
}

window.addEventListener("beforeprint", writeStory);
window.addEventListener("afterprint", () => {
  byId("story").replaceChildren();
  byId("story").hidden = true;
});
