// The page's script: shows the .glb in the page with parallax from pointer, touch, tilt and arrow keys.
// tools/build_viewer bundles it with three.js into viewer.min.js.
import { MathUtils, PerspectiveCamera, Scene, WebGLRenderer } from "three";
import { GLTFLoader } from "three/addons/loaders/GLTFLoader.js";

const STILL = matchMedia("(prefers-reduced-motion: reduce)");
const canvas = document.querySelector("canvas");
const scene = new Scene();
const camera = new PerspectiveCamera();
const at = { x: 0, y: 0 }; // where the viewer is, each in [-1, 1]
const goal = { x: 0, y: 0 }; // where he is going
let photo = null; // the camera that took the photo
let view = null; // how far one may move before it
let touched = -Infinity; // when a person last did something
let drawn = false; // whether the picture on the screen is that of `at`
let last = 0;

const renderer = (() => {
  try {
    return new WebGLRenderer({ canvas, antialias: true, alpha: true, preserveDrawingBuffer: true });
  } catch {
    document.body.dataset.state = "failed";
    throw new Error("this browser has no WebGL");
  }
})();

function bytes(text) {
  const raw = atob(text.trim());
  const out = new Uint8Array(raw.length);
  for (let i = 0; i < raw.length; i++) out[i] = raw.charCodeAt(i);
  return out.buffer;
}

function resize() {
  if (!photo) return;
  const scale = Math.min(innerWidth / photo.width, innerHeight / photo.height);
  const [width, height] = [photo.width * scale, photo.height * scale];
  renderer.setPixelRatio(Math.min(devicePixelRatio, 2));
  renderer.setSize(Math.round(width), Math.round(height));
  const across = Math.tan(MathUtils.degToRad(photo.field_of_view) / 2) / view.overscan;
  camera.aspect = photo.width / photo.height;
  camera.fov = MathUtils.radToDeg(2 * Math.atan(across / camera.aspect));
  camera.near = photo.near / 20;
  camera.far = photo.far * 4;
  draw();
}

function draw() {
  // As through a window: the frustum is sheared, so that what lies at still_depth stays where it is.
  const [x, y] = [at.x * view.reach, at.y * view.upward];
  camera.position.set(x, y, 0);
  camera.updateProjectionMatrix();
  camera.projectionMatrix.elements[8] = (-camera.projectionMatrix.elements[0] * x) / view.still_depth;
  camera.projectionMatrix.elements[9] = (-camera.projectionMatrix.elements[5] * y) / view.still_depth;
  camera.projectionMatrixInverse.copy(camera.projectionMatrix).invert();
  renderer.render(scene, camera);
  drawn = true;
}

function aim(x, y) {
  goal.x = MathUtils.clamp(x, -1, 1);
  goal.y = MathUtils.clamp(y, -1, 1);
  touched = performance.now();
}

function frame(now) {
  requestAnimationFrame(frame);
  if (!photo || document.hidden) return;
  const seconds = Math.min(0.1, (now - last) / 1000);
  last = now;
  const idle = now - touched;
  if (idle > 2500 && !STILL.matches) {
    // quiet breathing, which begins softly
    const amount = 0.45 * Math.min(1, (idle - 2500) / 2000);
    goal.x = amount * Math.sin(now / 2300);
    goal.y = amount * 0.5 * Math.sin(now / 3100 + 1);
  }
  const ease = STILL.matches ? 1 : 1 - Math.exp(-6 * seconds);
  const [dx, dy] = [(goal.x - at.x) * ease, (goal.y - at.y) * ease];
  if (Math.abs(dx) + Math.abs(dy) < 1e-4 && drawn) return;
  at.x += dx;
  at.y += dy;
  draw();
}

let held = null; // where a finger went down, and where the goal was
canvas.addEventListener("pointerdown", (event) => {
  if (event.pointerType === "mouse") return;
  held = { x: event.clientX, y: event.clientY, goal: { ...goal } };
  canvas.setPointerCapture(event.pointerId);
});
addEventListener("pointerup", () => (held = null));
addEventListener("pointercancel", () => (held = null));
addEventListener("pointermove", (event) => {
  const side = Math.min(innerWidth, innerHeight);
  if (event.pointerType === "mouse") {
    aim((2 * event.clientX) / innerWidth - 1, 1 - (2 * event.clientY) / innerHeight);
  } else if (held) {
    aim(held.goal.x - (3 * (event.clientX - held.x)) / side, held.goal.y + (3 * (event.clientY - held.y)) / side);
  }
});

const KEYS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] };
addEventListener("keydown", (event) => {
  const step = KEYS[event.key];
  if (!step) return;
  event.preventDefault();
  aim(goal.x + 0.25 * step[0], goal.y + 0.25 * step[1]);
});

let level = null; // how the device was held at first
function tilt(event) {
  if (event.beta === null || event.gamma === null || STILL.matches || held) return;
  const turned = ((screen.orientation && screen.orientation.angle) || 0) % 180 !== 0;
  const [x, y] = turned ? [event.beta, -event.gamma] : [event.gamma, event.beta];
  level ??= { x, y };
  level.x += 0.01 * (x - level.x); // a new way of holding it becomes the level one
  level.y += 0.01 * (y - level.y);
  aim((x - level.x) / 15, (level.y - y) / 15);
}
const asks = globalThis.DeviceOrientationEvent?.requestPermission;
if (asks) {
  const once = () =>
    DeviceOrientationEvent.requestPermission()
      .then((answer) => answer === "granted" && addEventListener("deviceorientation", tilt))
      .catch(() => {});
  addEventListener("click", once, { once: true });
} else {
  addEventListener("deviceorientation", tilt);
}

canvas.addEventListener("dblclick", () => {
  if (document.fullscreenElement) document.exitFullscreen();
  else document.documentElement.requestFullscreen?.().catch(() => {});
});
addEventListener("resize", resize);

// for embedding and tests: look from (x, y), each in [-1, 1], at once; breathing rests until `rest` is called
window.kinema = {
  ready: new GLTFLoader().parseAsync(bytes(document.getElementById("photo").textContent), "").then((model) => {
    ({ camera: photo, view } = model.parser.json.extras);
    model.scene.traverse((part) => {
      if (part.material?.map) part.material.map.anisotropy = renderer.capabilities.getMaxAnisotropy();
    });
    scene.add(model.scene);
    resize();
    document.body.dataset.state = "ready";
    requestAnimationFrame(frame);
  }),
  move(x, y) {
    aim(x, y);
    touched = Infinity;
    at.x = goal.x;
    at.y = goal.y;
    if (photo) draw();
  },
  rest() {
    touched = performance.now();
  },
};
window.kinema.ready.catch(() => (document.body.dataset.state = "failed"));
