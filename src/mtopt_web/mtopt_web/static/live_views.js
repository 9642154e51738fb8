// The live pictures of a robot's cameras, and two buttons that are held: frames are stored while one is down.
const PERIOD = 120; // ms between two looks
const KEYS = { s: "success", f: "failure" };

export default {
  template: `
    <div class="live">
      <div class="board-views">
        <figure v-for="camera in cameras" :key="camera">
          <img v-if="pictures[camera]" :src="pictures[camera]" :alt="camera" draggable="false">
          <div v-else class="live-dark">no picture yet</div>
          <figcaption>{{ camera.replace("_", " ") }}</figcaption>
        </figure>
      </div>
      <p v-if="trouble" class="board-trouble live-trouble" role="alert">{{ trouble }}</p>
      <div class="board-actions">
        <button v-for="verdict in ['success', 'failure']" :key="verdict" type="button" class="hold" :disabled="!ready"
                :class="[verdict, { held: held === verdict, wanted: wanted === verdict }]" :aria-pressed="held === verdict"
                @pointerdown.prevent="press(verdict, $event)" @pointerup="release" @pointercancel="release"
                @contextmenu.prevent>
          {{ held === verdict ? "storing …" : "Hold: " + verdict.toUpperCase() }}<kbd>{{ verdict[0].toUpperCase() }}</kbd>
        </button>
        <button type="button" @click="$emit('next')">Next pair<kbd>N</kbd></button>
        <button type="button" @click="$emit('discard')">Discard the last<kbd>Z</kbd></button>
      </div>
    </div>`,
  props: { robot: String, cameras: Array, ready: Boolean, wanted: String },
  data() { return { pictures: {}, numbers: {}, held: "", trouble: "" }; },
  watch: { robot() { this.pictures = {}; this.numbers = {}; this.release(); } },
  mounted() {
    this.prefix = window.path_prefix || "";
    this.living = true;
    window.addEventListener("keydown", this.down, true);
    window.addEventListener("keyup", this.up, true);
    window.addEventListener("blur", this.release);
    this.look();
  },
  beforeUnmount() {
    this.living = false;
    window.removeEventListener("keydown", this.down, true);
    window.removeEventListener("keyup", this.up, true);
    window.removeEventListener("blur", this.release);
  },
  methods: {
    async look() {
      if (!this.living) return;
      if (this.robot && !document.hidden) {
        try {
          const known = new URLSearchParams(this.numbers);
          const answer = await fetch(`${this.prefix}/live/${encodeURIComponent(this.robot)}?${known}`);
          const told = await answer.json();
          this.trouble = answer.ok ? "" : told.detail;
          if (answer.ok)
            for (const [camera, { number, picture }] of Object.entries(told)) {
              this.pictures[camera] = picture;
              this.numbers[camera] = number;
            }
        } catch (error) { this.trouble = "The server does not answer."; }
      }
      setTimeout(this.look, PERIOD);
    },
    press(verdict, event) {
      if (!this.ready || this.held) return;
      event?.target.setPointerCapture?.(event.pointerId);
      this.held = verdict;
      this.$emit("press", { verdict });
    },
    release() {
      if (!this.held) return;
      this.held = "";
      this.$emit("release");
    },
    down(event) {
      const busy = event.target.closest?.("input:not(.q-select__focus-target), textarea, .q-menu, .q-dialog");
      if (busy || event.ctrlKey || event.altKey || event.metaKey) return;
      const key = event.key.toLowerCase();
      const action = key in KEYS ? () => this.press(KEYS[key])
        : { n: () => this.$emit("next"), z: () => this.$emit("discard") }[key];
      if (!action) return;
      event.preventDefault();
      event.stopPropagation();
      if (!event.repeat) action();
    },
    up(event) { if (KEYS[event.key.toLowerCase()] === this.held) this.release(); },
  },
};
