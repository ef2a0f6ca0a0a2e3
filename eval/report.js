// The list of videos. What comes from the data goes into the page as text, never as markup.
'use strict';

(function () {
  const perPage = 20;
  const data = JSON.parse(document.getElementById('data').textContent);
  const [controls, search, order, show, open, found, list, pages] =
    ['controls', 'search', 'order', 'show', 'open', 'found', 'list', 'pages'].map((id) => document.getElementById(id));
  let chosen = data.videos, page = 0;

  // ---- Elements ----

  function element(tag, attributes, ...children) {
    const made = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes || {})) made.setAttribute(name, value);
    made.append(...children);
    return made;
  }

  function file(index) {
    return element('span', { class: 'file f' + index }, data.files[index]);
  }

  function number(value) {
    return value === null ? '-' : Number.isInteger(value) ? String(value) : value.toFixed(2);
  }

  // ---- Figures of a video ----

  function known(values) {
    return values.filter((value) => value !== null);
  }

  function mean(values) {
    return values.length ? values.reduce((sum, value) => sum + value, 0) / values.length : null;
  }

  function sides(video, index) {
    return video.files.filter((side, i) => side && (index === undefined || i === index));
  }

  function meanError(video, index) {
    return mean(sides(video, index).flatMap((side) => known(side.error)));
  }

  function meanScore(video) {
    return mean(sides(video).flatMap((side) => known(side.score)));
  }

  // How far the files' scores lie from each other, over the dimensions.
  function apart(video) {
    const spans = data.dimensions.map((_, d) => known(sides(video).map((side) => side.score[d])));
    return mean(spans.filter((span) => span.length > 1).map((span) => Math.max(...span) - Math.min(...span)));
  }

  // The greatest confidence in a score that is wrong.
  function wrongConfidence(video) {
    const wrong = sides(video).flatMap((side) => (side.confidence || []).filter((_, d) => side.error[d] > 0));
    return known(wrong).length ? Math.max(...known(wrong)) : null;
  }

  // ---- Which are shown, and in which order ----

  const keys = {
    error: (video, index) => negative(meanError(video, index)),
    least: (video) => meanError(video),
    apart: (video) => negative(apart(video)),
    sure: (video) => negative(wrongConfidence(video)),
    low: meanScore,
    high: (video) => negative(meanScore(video)),
    name: (video) => video.name,
    place: (video) => video.place,
  };

  function negative(value) {
    return value === null ? null : -value;
  }

  // Ascending by key; those without one come last, equal ones stay in the order of their errors.
  function sorted(videos, word) {
    const [name, index] = word.split(' ');
    const key = keys[name];
    const keyed = videos.map((video) => [key(video, index === undefined ? undefined : Number(index)), video]);
    keyed.sort(([a], [b]) => (a === b ? 0 : a === null ? 1 : b === null ? -1 : a < b ? -1 : 1));
    return keyed.map(([, video]) => video);
  }

  const shows = {
    all: () => true,
    wrong: (video) => sides(video).some((side) => side.error.some((error) => error > 0)),
    right: (video) => meanError(video) === 0,
    unread: (video) => sides(video).some((side) => side.score.includes(null)),
  };

  // The video's words in small letters, kept once they were asked for.
  const words = new Map();
  function wordsOf(video) {
    if (!words.has(video)) {
      const texts = sides(video).flatMap((side) => side.text.join(''));
      words.set(video, [video.name, video.prompt, ...texts].join('\n').toLowerCase());
    }
    return words.get(video);
  }

  function choose() {
    const wanted = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    const fits = (video) => wanted.every((word) => wordsOf(video).includes(word));
    chosen = data.videos.filter(shows[show.value]);
    if (wanted.length) chosen = chosen.filter(fits);
    chosen = sorted(chosen, order.value);
    draw(0);
  }

  // ---- Drawing ----

  function scoreCell(side, d) {
    if (!side) return element('td', { class: 'quiet' }, 'no row');
    const error = side.error[d];
    const kind = error === null ? '' : error === 0 ? 'right' : error <= 1 ? 'near' : 'wrong';
    const cell = element('td', { class: kind }, element('b', {}, number(side.score[d])));
    if (error !== null) cell.append(' ', element('small', {}, error === 0 ? 'right' : 'off by ' + number(error)));
    if (side.confidence && side.confidence[d] !== null)
      cell.append(' ', element('small', { class: 'quiet' }, Math.round(100 * side.confidence[d]) + '% sure'));
    return cell;
  }

  function scoreTable(video) {
    const head = element('tr', {}, element('td'), element('th', { scope: 'col' }, 'truth'),
      ...data.files.map((_, i) => element('th', { scope: 'col' }, file(i))));
    const rows = data.dimensions.map((name, d) => element('tr', {}, element('th', { scope: 'row' }, name),
      element('td', {}, number(video.truth[d])), ...video.files.map((side) => scoreCell(side, d))));
    return element('table', { class: 'scores' }, element('caption', { class: 'unseen' }, 'Scores and truth'),
      element('thead', {}, head), element('tbody', {}, ...rows));
  }

  function rationale(side, index) {
    const text = element('div', { class: 'rationale', dir: 'auto' });
    side.text.forEach((part, i) => text.append(i % 2 === 0 ? part :
      element('mark', { title: data.dimensions[side.marks[(i - 1) / 2]] }, part)));
    const details = element('details', {}, element('summary', {}, 'Rationale of ', file(index)), text);
    details.open = open.checked;
    return details;
  }

  function item(video) {
    const error = meanError(video);
    const made = element('li', { class: 'video' }, element('h3', { dir: 'auto' }, video.name));
    if (error !== null) made.append(element('p', { class: 'quiet error' }, 'mean error ' + error.toFixed(2)));
    if (video.picture)
      made.append(element('img', { src: video.picture, alt: 'Frames of the video, from first to last', loading: 'lazy' }));
    if (video.problem) made.append(element('p', { class: 'quiet', dir: 'auto' }, video.problem));
    if (video.prompt) made.append(element('p', { class: 'prompt', dir: 'auto' }, video.prompt));
    made.append(scoreTable(video));
    video.files.forEach((side, i) => { if (side && side.text.join('')) made.append(rationale(side, i)); });
    return made;
  }

  const buttons = [
    ['First', () => 0], ['Previous', () => page - 1], ['Next', () => page + 1], ['Last', () => lastPage()],
  ].map(([label, target]) => {
    const button = element('button', { type: 'button' }, label);
    button.addEventListener('click', () => {
      draw(target());
      found.focus();
    });
    return button;
  });
  const where = element('span');
  pages.append(buttons[0], buttons[1], where, buttons[2], buttons[3]);

  function lastPage() {
    return Math.max(0, Math.ceil(chosen.length / perPage) - 1);
  }

  function draw(to) {
    const last = lastPage();
    page = Math.min(Math.max(to, 0), last);
    const from = page * perPage, shown = chosen.slice(from, from + perPage);
    list.replaceChildren(...shown.map(item));
    list.start = from + 1;
    found.textContent = chosen.length === 0 ? 'No video fits.' :
      (from + 1) + ' to ' + (from + shown.length) + ' of ' + chosen.length + ' videos' +
      (chosen.length < data.videos.length ? ' (of ' + data.videos.length + ')' : '');
    pages.hidden = last === 0;
    where.textContent = 'page ' + (page + 1) + ' of ' + (last + 1);
    buttons.forEach((button, i) => { button.disabled = i < 2 ? page === 0 : page === last; });
  }

  function rationales(state) {
    return [...list.querySelectorAll('details')].filter((details) => details.open === state);
  }

  // On paper all are open.
  let opened = [];
  window.addEventListener('beforeprint', () => {
    opened = rationales(false);
    for (const details of opened) details.open = true;
  });
  window.addEventListener('afterprint', () => {
    for (const details of opened) details.open = false;
  });

  let waiting;
  search.addEventListener('input', () => {
    clearTimeout(waiting);
    waiting = setTimeout(choose, 150);
  });
  order.addEventListener('change', choose);
  show.addEventListener('change', choose);
  open.addEventListener('change', () => {
    for (const details of rationales(!open.checked)) details.open = open.checked;
  });
  controls.hidden = false;
  draw(0);
})();
