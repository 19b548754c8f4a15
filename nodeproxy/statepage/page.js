// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0
'use strict';
const maxShown = 500; // rows that are drawn; a search finds the others
const byId = (id) => document.getElementById(id);
const rows = new Map();
let columns = [];
let pending = false;

function element(name, text, level) {
  const e = document.createElement(name);
  e.textContent = text;
  if (level) e.className = level;
  return e;
}

function cellsOf(row, names, open) {
  const tr = document.createElement('tr');
  row.cells.forEach((text, i) => {
    const td = element('td', '', i === 0 ? row.level : '');
    td.dataset.column = names[i];
    if (i === 0 && open && row.detail) {
      const button = element('button', text);
      button.type = 'button';
      button.addEventListener('click', () => { location.hash = row.key; });
      td.append(button);
    } else {
      td.textContent = text;
    }
    tr.append(td);
  });
  return tr;
}

function headOf(names) {
  return names.map((name) => element('th', name));
}

function draw() {
  pending = false;
  const words = byId('search').value.toLowerCase().split(/\s+/).filter(Boolean);
  const onlyProblems = byId('problems').checked;
  const found = [...rows.values()].filter((row) => {
    const text = row.cells.join(' ').toLowerCase();
    return (!onlyProblems || row.level) && words.every((w) => text.includes(w));
  }).sort((a, b) => (a.key < b.key ? -1 : 1));
  byId('count').textContent = `${found.length} of ${rows.size}` + (found.length > maxShown ? `, the first ${maxShown} are shown` : '');
  byId('columns').replaceChildren(...headOf(columns));
  byId('rows').replaceChildren(...found.slice(0, maxShown).map((row) => cellsOf(row, columns, true)));
}

function redraw() {
  if (!pending) requestAnimationFrame(draw);
  pending = true;
}

function apply(event) {
  const change = JSON.parse(event.data);
  if (change.full) {
    rows.clear();
    columns = change.columns;
    document.title = byId('title').textContent = change.title;
    byId('links').replaceChildren(...(change.links || []).map((link) => {
      const a = element('a', link.name);
      a.href = link.path;
      return a;
    }));
  }
  for (const row of change.rows) rows.set(row.key, row);
  for (const key of change.removed) rows.delete(key);
  byId('properties').replaceChildren(...change.properties.map((property) => {
    const pair = document.createElement('div');
    pair.append(element('dt', property.name), element('dd', property.value, property.level));
    return pair;
  }));
  byId('connection').textContent = 'live';
  redraw();
  const open = selected();
  if (change.full || change.rows.some((row) => row.key === open) || change.removed.includes(open)) showDetail();
}

const selected = () => decodeURIComponent(location.hash.slice(1));

function sectionOf(section) {
  const parts = [element('h3', section.title)];
  if (section.text) parts.push(element('pre', section.text));
  if (section.columns) {
    const table = document.createElement('table');
    const head = table.createTHead().insertRow();
    head.append(...headOf(section.columns));
    table.createTBody().append(...(section.rows || []).map((row) => cellsOf(row, section.columns, false)));
    parts.push(table);
  }
  return parts;
}

async function showDetail() {
  const key = selected();
  const row = rows.get(key);
  byId('detail').hidden = !key;
  if (!key) return;
  byId('detail-title').textContent = key;
  try {
    if (!row || !row.detail) throw new Error('not found');
    const answer = await fetch(`${location.pathname.replace(/\/$/, '')}/${row.detail}?output=page`);
    if (!answer.ok) throw new Error((await answer.text()).trim() || answer.statusText);
    const detail = await answer.json();
    if (selected() !== key) return;
    byId('sections').replaceChildren(...detail.sections.flatMap(sectionOf));
  } catch (error) {
    byId('sections').replaceChildren(element('p', error.message, 'error'));
  }
}

byId('search').addEventListener('input', redraw);
byId('problems').addEventListener('change', redraw);
byId('filter').addEventListener('submit', (event) => event.preventDefault());
byId('close').addEventListener('click', () => { location.hash = ''; });
addEventListener('hashchange', async () => {
  await showDetail();
  if (selected()) byId('detail').scrollIntoView({ block: 'nearest' });
});

const events = new EventSource('?output=events');
events.addEventListener('rows', apply);
events.addEventListener('error', () => { byId('connection').textContent = 'disconnected, trying again'; });
