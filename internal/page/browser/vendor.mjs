// Copies uPlot, as package.json pins it, to where the page ships it from, with its licence:
//
//	npm ci && npm run vendor
import { copyFile, mkdir } from "node:fs/promises";

const from = new URL("./node_modules/uplot/", import.meta.url);
const to = new URL("../assets/uplot/", import.meta.url);
await mkdir(to, { recursive: true });
for (const file of ["dist/uPlot.iife.min.js", "dist/uPlot.min.css", "LICENSE"]) {
  const name = file.split("/").pop();
  await copyFile(new URL(file, from), new URL(name, to));
  console.log(`uplot/${file} -> assets/uplot/${name}`);
}
