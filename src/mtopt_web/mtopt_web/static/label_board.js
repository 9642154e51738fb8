// The board on which episodes are judged: a grid of final images, or one episode with all views and its last second.
// Keys and clicks move and mark at once; a mark counts when the server has said so (`settle`), never before.
const MARKS = { success: "✓", failure: "✗", unsure: "?" };
const KEYS = { s: "success", 1: "success", f: "failure", 2: "failure", u: "unsure", 3: "unsure" };
const LOOP_PERIOD = 1400; // ms: the last second, and a moment on the final image

export default {
  template: `
    <div class="board" :class="mode" ref="board" tabindex="-1" :aria-busy="turning">
      <div v-if="mode === 'grid'" class="board-grid" role="grid" aria-label="Episodes">
        <button v-for="(cell, n) in cells" :key="cell.id + cell.task" class="board-cell" type="button" tabindex="-1"
                :class="[mark(cell), { focused: n === at, saving: saving[cell.id] }]" :data-episode="cell.id"
                :data-state="state(cell)" :aria-label="describe(cell)" @click="at = n" @dblclick="setMode('single')">
          <img v-if="cell.src" :src="cell.src" alt="" width="128" height="128" draggable="false">
          <span v-else class="board-trouble">{{ cell.trouble }}</span>
          <span class="board-mark" aria-hidden="true">{{ glyph(cell) }}</span>
          <span v-if="opinions && cell.detected" class="board-opinion" :class="cell.detected.verdict">
            {{ (100 * cell.detected.probability).toFixed(0) }} %</span>
          <span class="board-task">{{ cell.task }}</span>
          <span v-if="cell.why" class="board-why">{{ cell.why }}</span>
        </button>
      </div>
      <div v-else-if="current" class="board-single" :class="mark(current)" :data-episode="current.id"
           :data-state="state(current)">
        <div class="board-question">
          <strong>{{ current.task }}</strong>: solved in the final image?
          <span class="board-verdict">{{ saving[current.id] ? "saving …" : told(current) }}</span>
          <span v-if="opinions && current.detected" class="board-opinion" :class="current.detected.verdict">
            detector: {{ (100 * current.detected.probability).toFixed(0) }} %</span>
          <span v-if="current.why" class="board-why">{{ current.why }}</span>
        </div>
        <p v-if="trouble[current.id]" class="board-trouble" role="alert">{{ trouble[current.id] }}</p>
        <div class="board-views">
          <figure v-for="view in views" :key="view">
            <img :src="address(current.id, view, 0)" :alt="view" draggable="false" @error="fail(current.id, view)">
            <figcaption>{{ view.replace("_", " ") }}</figcaption>
          </figure>
          <figure v-if="loop.length > 1" class="board-loop">
            <img :src="loop[frame]" alt="The last second" draggable="false">
            <figcaption>{{ loopView.replace("_", " ") }}, the last second</figcaption>
          </figure>
        </div>
        <div class="board-facts">{{ current.facts }}</div>
      </div>
      <p v-if="!cells.length" class="board-empty">No episode fits the filter.</p>
      <div class="board-actions" role="toolbar" aria-label="Verdict">
        <button type="button" class="success" :disabled="!current" @click="say('success')">✓ Success<kbd>S</kbd></button>
        <button type="button" class="failure" :disabled="!current" @click="say('failure')">✗ Failure<kbd>F</kbd></button>
        <button type="button" class="unsure" :disabled="!current" @click="say('unsure')">? Unsure<kbd>U</kbd></button>
        <button type="button" :disabled="!current" @click="skip()">Skip<kbd>Space</kbd></button>
        <button type="button" @click="$emit('undo')">Undo<kbd>Z</kbd></button>
        <button type="button" :disabled="!current" @click="setMode(mode === 'grid' ? 'single' : 'grid')">
          {{ mode === "grid" ? "One by one" : "Grid" }}<kbd>{{ mode === "grid" ? "Enter" : "Esc" }}</kbd></button>
      </div>
    </div>`,
  props: { cells: Array, views: Array, loopView: String, opinions: Boolean, serial: Number, start: String },
  data() {
    return {
      at: 0, mode: "grid", saving: {}, trouble: {}, counts: {}, frame: 0, turning: false, prefix: "",
    };
  },
  computed: {
    current() { return this.cells[Math.min(this.at, this.cells.length - 1)]; },
    loop() {
      const count = (this.current && this.counts[this.current.id]?.[this.loopView]) || 0;
      return Array.from({ length: count }, (_, n) => this.address(this.current.id, this.loopView, count - 1 - n));
    },
  },
  watch: {
    serial() { this.at = this.start === "last" ? this.cells.length - 1 : 0; this.turning = false; this.look(); },
    at() { this.look(); },
    mode() { this.look(); },
  },
  mounted() {
    this.prefix = window.path_prefix || "";
    window.addEventListener("keydown", this.key, true);
    this.ticking = setInterval(this.tick, 50);
    this.started = performance.now();
    this.look();
  },
  beforeUnmount() {
    window.removeEventListener("keydown", this.key, true);
    clearInterval(this.ticking);
  },
  methods: {
    address(id, view, number) { return `${this.prefix}/pictures/${encodeURIComponent(id)}/${view}/${number}`; },
    mark(cell) { return cell.label ? cell.label.verdict : ""; },
    state(cell) {
      return this.saving[cell.id] ? "saving" : this.trouble[cell.id] ? "trouble" : cell.label ? cell.label.verdict : "none";
    },
    glyph(cell) { return this.saving[cell.id] ? "…" : this.trouble[cell.id] ? "!" : cell.label ? MARKS[cell.label.verdict] : ""; },
    told(cell) { return cell.label ? `${cell.label.verdict}, says ${cell.label.who}` : ""; },
    describe(cell) { return `${cell.task}, ${cell.facts}, ${this.told(cell) || "not labelled"}`; },
    say(verdict) {
      const cell = this.current;
      // While the page turns, the last cell is still looked at, and was judged.
      if (!cell || this.turning || this.saving[cell.id]) return;
      this.saving[cell.id] = true;
      delete this.trouble[cell.id];
      this.$emit("say", { id: cell.id, verdict });
      this.skip();
    },
    skip() { this.passing = true; this.go(1); },
    move(step) { this.passing = false; this.go(step); },
    // Somebody else looks at it: who goes through the episodes is shown the next, who chose this one may stay.
    pass_over(id) { if (this.passing && this.current?.id === id) this.go(1); },
    go(step) {
      const next = this.at + step;
      if (next >= 0 && next < this.cells.length) this.at = next;
      else this.turn(step > 0);
    },
    turn(forward) {
      if (this.turning) return;
      this.turning = true;
      this.$emit("turn", { forward });
    },
    stay() { this.turning = false; },
    setMode(mode) { this.mode = mode; this.$emit("mode", { mode }); },
    settle(id, trouble) { delete this.saving[id]; if (trouble) this.trouble[id] = trouble; },
    show(id) { const n = this.cells.findIndex((cell) => cell.id === id); if (n >= 0) this.at = n; },
    fail(id, view) { this.trouble[id] ||= `The picture of ${view} cannot be shown: the bag is gone, or lacks it.`; },
    columns() {
      const grid = this.$refs.board.querySelector(".board-grid");
      return grid ? getComputedStyle(grid).gridTemplateColumns.split(" ").length : 1;
    },
    key(event) {
      const { target } = event;
      const typing = target.closest?.("input:not(.q-select__focus-target), textarea, .q-menu, .q-dialog");
      // A filter that was just chosen keeps the focus: letters are verdicts there too, the other keys are its own.
      const choosing = target.closest?.(".q-select") && (event.key.length > 1 || event.key === " ");
      if (typing || choosing || event.altKey || event.metaKey || (event.ctrlKey && event.key !== "z")) return;
      const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
      const across = this.mode === "grid" ? this.columns() : 1;
      const actions = {
        ArrowRight: () => this.move(1), ArrowLeft: () => this.move(-1),
        ArrowDown: () => this.move(Math.min(across, Math.max(1, this.cells.length - 1 - this.at))),
        ArrowUp: () => this.move(-Math.min(across, Math.max(1, this.at))),
        PageDown: () => this.turn(true), PageUp: () => this.turn(false), " ": () => this.skip(),
        z: () => this.$emit("undo"), Enter: () => this.setMode("single"), Escape: () => this.setMode("grid"),
      };
      const action = key in KEYS ? () => this.say(KEYS[key]) : actions[key];
      if (!action) return;
      event.preventDefault();
      event.stopPropagation();
      action();
    },
    look() {
      this.$nextTick(() => {
        this.$refs.board?.querySelector(".focused")?.scrollIntoView({ block: "nearest" });
      });
      if (this.mode === "single" && this.current) {
        this.$emit("look", { id: this.current.id });
        this.started = performance.now();
        for (const cell of [this.current, this.cells[this.at + 1]]) if (cell) this.fetchEnd(cell.id);
      }
    },
    async fetchEnd(id) {
      if (this.counts[id]) return;
      const answer = await fetch(`${this.prefix}/pictures/${encodeURIComponent(id)}`);
      if (!answer.ok) { this.trouble[id] = (await answer.json()).detail; return; }
      this.counts[id] = await answer.json();
      for (const view of this.views)
        for (let n = 0; n < (view === this.loopView ? this.counts[id][view] || 0 : 1); n++)
          new Image().src = this.address(id, view, n);
    },
    tick() {
      if (this.mode !== "single" || !this.loop.length) return;
      const passed = ((performance.now() - this.started) % LOOP_PERIOD) / 1000;
      this.frame = Math.min(this.loop.length - 1, Math.floor(passed * this.loop.length));
    },
  },
};
