// What every robot does: one card each, keys for whatever can be told to it, below it how far every task has come.
const NOW_PERIOD = 500; // ms between two looks at what the robots do
const COLLECTED_PERIOD = 10000; // ms between two looks at what was collected
const CAMERAS = ["main", "wrist", "side_left", "side_right"];
const BANDS = [
  ["#1a7f4b", "success, learned policy"], ["#8fd0af", "success, script"],
  ["#8d98a6", "failure, learned policy"], ["#d5dae2", "failure, script"],
];

export default {
  template: `
    <div class="robots">
      <p v-if="trouble" class="site-trouble" role="alert">{{ trouble }}</p>
      <p v-else-if="loaded && !robots.length" class="board-empty">
        No robots are to be seen. Start <code>mtopt fleet</code> or <code>mtopt run</code>, and they show.
      </p>
      <div class="robot-cards">
        <section v-for="(one, number) in robots" :key="one.robot" class="card robot" tabindex="0"
                 :class="{ focused: one.robot === chosen, alarmed: one.help }" @focus="chosen = one.robot"
                 @pointerdown="chosen = one.robot" :aria-label="one.robot">
          <header>
            <strong>{{ one.robot }}</strong>
            <span class="robot-state" :class="one.state.replaceAll(' ', '-')">{{ one.state }}</span>
            <kbd v-if="number < 9">{{ number + 1 }}</kbd>
          </header>
          <div v-if="one.help" class="robot-help" role="alert">
            <strong>Needs a person.</strong> {{ one.help }}
            <div v-if="one.pictures" class="robot-help-pictures">
              <img v-for="n in one.pictures" :key="n" :src="prefix + '/robots/' + one.robot + '/help/' + (n - 1) + '?' + one.episode"
                   :alt="'what camera ' + n + ' saw'">
            </div>
          </div>
          <div class="robot-body">
            <figure @click="turn(one.robot)" title="another camera (C)">
              <img v-if="picture(one.robot)" :src="picture(one.robot)" :alt="camera(one.robot)" draggable="false">
              <div v-else class="live-dark">no picture</div>
              <figcaption>{{ camera(one.robot).replace("_", " ") }}</figcaption>
            </figure>
            <div class="robot-facts">
              <div class="robot-task">{{ one.task || "no task yet" }}</div>
              <div class="robot-policy">{{ one.policy || "–" }}<span v-if="one.exploration">, {{ percent(one.exploration) }} random moves</span></div>
              <svg class="robot-q" viewBox="0 0 200 60" preserveAspectRatio="none" role="img" :aria-label="'Q-value over the episode: ' + lastQ(one)">
                <line x1="0" y1="30" x2="200" y2="30" class="robot-q-half"/>
                <polyline :points="line(one.q)"/>
                <circle v-for="point in dots(one.q)" :key="point.x" :cx="point.x" :cy="point.y" r="2.2"/>
              </svg>
              <div class="robot-q-told">Q {{ lastQ(one) }}</div>
              <dl>
                <dt>episodes</dt><dd>{{ one.episodes }}</dd>
                <dt>solved</dt><dd>{{ one.episodes ? percent(one.successes / one.episodes) : "–" }}</dd>
                <dt>per hour</dt><dd>{{ one.per_hour === null ? "–" : Math.round(one.per_hour) }}</dd>
                <template v-if="cadence[one.robot]">
                  <dt>steps per second</dt><dd>{{ cadence[one.robot].steps_per_second.toFixed(1) }}</dd>
                  <dt>steps in time</dt><dd>{{ inTime(cadence[one.robot]) }}</dd>
                  <dt>messages lost</dt><dd>{{ cadence[one.robot].dropped }}</dd>
                </template>
              </dl>
            </div>
          </div>
          <p v-if="one.message && !one.help" class="robot-message">{{ one.message }}</p>
          <ul v-if="one.faults.length" class="robot-faults">
            <li v-for="fault in one.faults" :key="fault.node" :class="fault.level"><b>{{ fault.node }}</b> {{ fault.message }}</li>
          </ul>
        </section>
      </div>
      <section v-if="tasks.length" class="card">
        <div class="card-title">What {{ name() }} practises, and by which policy</div>
        <div class="robot-wide"><table class="robot-tasks">
          <thead><tr><th>task</th><th>next</th><th>by</th><th class="number">attempts</th><th class="number">learned policy</th>
            <th class="number">others</th><th>difference, 95 %</th><th></th></tr></thead>
          <tbody><tr v-for="task in tasks" :key="task.task">
            <td>{{ task.task }}</td><td class="number">{{ percent(task.chance) }}</td><td>{{ task.sources }}</td>
            <td class="number">{{ task.attempts }}</td>
            <td class="number">{{ share(task.learned_successes, task.learned) }}</td>
            <td class="number">{{ share(task.other_successes, task.others) }}</td>
            <td>{{ difference(task) }}</td>
            <td><span v-if="task.at_parity" class="robot-parity">at parity</span></td>
          </tr></tbody>
        </table></div>
      </section>
      <section v-if="collected" class="card">
        <div class="card-title">How the data grew: {{ collected.episodes }} episodes</div>
        <div class="robot-legend"><span v-for="[colour, name] in bands" :key="name"><i :style="{ background: colour }"></i>{{ name }}</span></div>
        <div class="robot-growth">
          <figure v-for="one in collected.growth" :key="one.task">
            <figcaption><b>{{ one.task }}</b> {{ one.successes }} of {{ one.successes + one.failures }}</figcaption>
            <div v-html="one.panel"></div>
          </figure>
        </div>
      </section>
      <div class="board-actions" role="toolbar" aria-label="to the robot">
        <button type="button" :disabled="!one" @click="tell(pauseWord())">{{ pauseWord() === "pause" ? "Pause" : "Resume" }} {{ name() }}<kbd>P</kbd></button>
        <button type="button" :disabled="!one" @click="tell('skip')">Skip the episode of {{ name() }}<kbd>S</kbd></button>
        <button type="button" :disabled="!one" @click="tell('reset')">Reset the scene of {{ name() }}<kbd>R</kbd></button>
        <button type="button" :disabled="!one" @click="turn(one.robot)">Camera<kbd>C</kbd></button>
      </div>
    </div>`,
  data() {
    return { robots: [], practice: [], collected: null, cadence: {}, chosen: "", trouble: "", loaded: false, pictures: {},
             numbers: {}, cameras: {}, prefix: "", bands: BANDS };
  },
  computed: {
    // By its name: a robot that is found later may come before it.
    one() { return this.robots.find(one => one.robot === this.chosen); },
    tasks() { return this.practice.find(group => group.robot === this.name())?.tasks || []; },
  },
  mounted() {
    this.prefix = window.path_prefix || "";
    this.living = true;
    window.addEventListener("keydown", this.key, true);
    this.repeat(this.lookNow, NOW_PERIOD);
    this.repeat(this.lookCollected, COLLECTED_PERIOD);
  },
  beforeUnmount() {
    this.living = false;
    window.removeEventListener("keydown", this.key, true);
  },
  methods: {
    async repeat(look, period) {
      while (this.living) {
        if (!document.hidden || !this.loaded) await look();
        await new Promise(done => setTimeout(done, period));
      }
    },
    async ask(path, options) {
      try {
        const answer = await fetch(this.prefix + path, options);
        const told = await answer.json();
        if (answer.ok) return told;
        return { trouble: told.detail };
      } catch (error) { return { trouble: "The server does not answer." }; }
    },
    async lookNow() {
      const told = await this.ask("/robots/now");
      this.trouble = told.trouble || "";
      if (told.trouble) return;
      this.loaded = true;
      this.robots = told.robots;
      this.practice = told.practice;
      if (!this.one) this.chosen = this.robots[0]?.robot || "";
      await Promise.all(this.robots.map(one => this.lookAt(one.robot)));
    },
    async lookAt(robot) {
      const known = new URLSearchParams(this.numbers[robot] || {});
      const told = await this.ask(`/live/${encodeURIComponent(robot)}?${known}`);
      if (told.trouble) return;
      for (const [camera, { number, picture }] of Object.entries(told)) {
        (this.pictures[robot] ??= {})[camera] = picture;
        (this.numbers[robot] ??= {})[camera] = number;
      }
    },
    async lookCollected() {
      const told = await this.ask("/robots/collected");
      if (told.trouble) return;
      this.collected = told;
      this.cadence = told.cadence;
    },
    camera(robot) { return this.cameras[robot] || CAMERAS[0]; },
    picture(robot) { return this.pictures[robot]?.[this.camera(robot)]; },
    turn(robot) {
      const there = CAMERAS.filter(one => this.pictures[robot]?.[one]);
      if (there.length) this.cameras[robot] = there[(there.indexOf(this.camera(robot)) + 1) % there.length];
    },
    place(values, index, value) { return { x: values.length > 1 ? 4 + 192 * index / Math.max(19, values.length - 1) : 4, y: 57 - 54 * value }; },
    dots(values) { return values.flatMap((value, index) => value === null ? [] : [this.place(values, index, value)]); },
    line(values) { return this.dots(values).map(({ x, y }) => `${x.toFixed(1)},${y.toFixed(1)}`).join(" "); },
    lastQ(one) {
      const known = one.q.filter(value => value !== null);
      return known.length ? known[known.length - 1].toFixed(2) : "– (no Q-function asked)";
    },
    percent(value) { return `${Math.round(100 * value)} %`; },
    share(successes, episodes) { return episodes ? `${this.percent(successes / episodes)} of ${episodes}` : "–"; },
    difference(task) {
      if (!task.learned || !task.others) return "–";
      return [task.difference_low, task.difference_high].map(one => (100 * one).toFixed(0)).join(" to ") + " points";
    },
    inTime(cadence) {
      return cadence.timed_steps ? `${(100 * (1 - cadence.late_steps / cadence.timed_steps)).toFixed(1)} %` : "–";
    },
    name() { return this.one ? this.one.robot : ""; },
    pauseWord() { return this.one && ["paused", "needs a person"].includes(this.one.state) ? "resume" : "pause"; },
    tell(word) {
      // One after the other: what is asked at the same time may arrive in any order.
      const robot = this.name();
      this.lastTold = (this.lastTold || Promise.resolve()).then(() => this.send(robot, word));
    },
    async send(robot, word) {
      const told = await this.ask(`/robots/${encodeURIComponent(robot)}/${word}`, { method: "POST" });
      Quasar.Notify.create({ message: `${robot}: ${told.trouble || told.answer}`, color: told.trouble ? "negative" : "dark" });
      await this.lookNow();
    },
    choose(number) {
      if (number < 0 || number >= this.robots.length) return;
      this.chosen = this.robots[number].robot;
      this.$el.querySelectorAll(".robot")[number]?.focus();
    },
    key(event) {
      const busy = event.target.closest?.("input, textarea, .q-menu, .q-dialog");
      if (busy || event.ctrlKey || event.altKey || event.metaKey || event.repeat) return;
      const key = event.key.toLowerCase();
      const act = key >= "1" && key <= "9" ? () => this.choose(Number(key) - 1)
        : { arrowright: () => this.choose(this.robots.indexOf(this.one) + 1), arrowleft: () => this.choose(this.robots.indexOf(this.one) - 1),
            c: () => this.one && this.turn(this.one.robot), p: () => this.one && this.tell(this.pauseWord()),
            s: () => this.one && this.tell("skip"), r: () => this.one && this.tell("reset") }[key];
      if (!act) return;
      event.preventDefault();
      event.stopPropagation();
      act();
    },
  },
};
