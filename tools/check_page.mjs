// Opens the page of playbooks/report.yml in headless Chromium, at three widths, light and dark: no message on the console,
// no request, nothing wider than the window, no violation that axe finds. Screenshots are for the reader.
//   node tools/check_page.mjs PAGE FOLDER   with axe-core and puppeteer-core in FOLDER/node_modules; see tools/check_page.sh
import {readFileSync} from "node:fs";
import {createRequire} from "node:module";
import {resolve} from "node:path";
import {pathToFileURL} from "node:url";

const [page_file, folder] = process.argv.slice(2).map(path => resolve(path));
const require = createRequire(`${folder}/`);
const axe = readFileSync(require.resolve("axe-core/axe.min.js"), "utf8");
const browser = await require("puppeteer-core").launch({
  executablePath: process.env.CHROMIUM, args: process.getuid() === 0 ? ["--no-sandbox"] : [],
});
const problems = [];
for (const scheme of ["light", "dark"]) {
  for (const width of [360, 900, 1600]) {
    const where = `${scheme}, ${width} pixels`;
    const page = await browser.newPage();
    page.on("console", message => problems.push(`${where}: console: ${message.text()}`));
    page.on("pageerror", error => problems.push(`${where}: ${error}`));
    page.on("request", request => {
      if (!/^(file|data):/.test(request.url())) problems.push(`${where}: asks for ${request.url()}`);
    });
    await page.emulateMediaFeatures([{name: "prefers-color-scheme", value: scheme}]);
    await page.setViewport({width, height: 900});
    await page.goto(pathToFileURL(page_file).href);
    const {scrollWidth, clientWidth} = await page.evaluate(() => {
      const {scrollWidth, clientWidth} = document.documentElement;
      return {scrollWidth, clientWidth};
    });
    if (scrollWidth > clientWidth) problems.push(`${where}: ${scrollWidth - clientWidth} pixels too wide`);
    await page.screenshot({path: `${folder}/${scheme}-${width}.png`, fullPage: true});
    await page.evaluate(axe);
    const {violations, passes} = await page.evaluate(() => axe.run());
    for (const {id, help, nodes} of violations) problems.push(`${where}: ${id}: ${help}: ${nodes[0].html}`);
    console.log(`${where}: axe: ${passes.length} rules passed, ${violations.length} violated`);
    await page.close();
  }
}
const page = await browser.newPage();
await page.goto(pathToFileURL(page_file).href);
await page.pdf({path: `${folder}/print.pdf`, format: "A4"});
await browser.close();
problems.forEach(problem => console.error(problem));
process.exit(problems.length ? 1 : 0);
