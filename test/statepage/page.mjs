// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0
// Drives the page of /state in Chromium. Reads commands, one JSON object in each line, and answers
// each with one line: what the page shows, or an error.
// usage: node page.mjs CHROMIUM
import { createInterface } from 'node:readline'
import { chromium } from 'playwright-core'

const browser = await chromium.launch({ executablePath: process.argv[2], args: ['--no-sandbox'] })
const page = await browser.newPage()
const problems = [] // of the console, such as violations of the Content-Security-Policy
page.on('console', (m) => { if (m.type() === 'error') problems.push(m.text()) })
page.on('pageerror', (e) => problems.push(e.message))

const commands = {
  open: async ({ url, width, height, dark }) => {
    await page.setViewportSize({ width, height })
    await page.emulateMedia({ colorScheme: dark ? 'dark' : 'light' })
    await page.goto(url)
    await page.waitForFunction(() => document.getElementById('connection').textContent === 'live')
  },
  search: ({ text }) => page.fill('#search', text),
  problems: () => page.click('#problems'),
  row: ({ text }) => page.click(`#rows button:text-is(${JSON.stringify(text)})`),
  follow: ({ text }) => page.click(`#links a:text-is(${JSON.stringify(text)})`),
  close: () => page.click('#close'),
  wait: ({ text }) => page.waitForFunction((t) => document.body.innerText.includes(t), text, { timeout: 10000 }),
  gone: ({ text }) => page.waitForFunction((t) => !document.body.innerText.includes(t), text, { timeout: 10000 }),
  screenshot: ({ path }) => page.screenshot({ path, fullPage: true }),
}

async function shown () {
  // Rows are drawn in the frame after a change.
  await page.evaluate(() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done))))
  return page.evaluate(() => ({
      title: document.title,
      rows: [...document.querySelectorAll('#rows tr')].map((tr) => [...tr.cells].map((td) => td.innerText)),
      levels: [...document.querySelectorAll('#rows tr')].map((tr) => tr.cells[0].className),
      properties: document.getElementById('properties').innerText,
      count: document.getElementById('count').innerText,
      detail: document.getElementById('detail').hidden ? '' : document.getElementById('detail').innerText,
      overflow: document.documentElement.scrollWidth > document.documentElement.clientWidth,
    }))
}

for await (const line of createInterface({ input: process.stdin })) {
  const command = JSON.parse(line)
  try {
    await commands[command.do](command)
    console.log(JSON.stringify({ ...await shown(), problems }))
  } catch (error) {
    const text = await page.evaluate(() => document.body.innerText)
    console.log(JSON.stringify({ error: `${error.message}; the page is: ${text}`, problems }))
  }
}
await browser.close()
