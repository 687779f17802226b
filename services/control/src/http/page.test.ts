import { expect, test } from 'vitest';
import { html, page } from './page.ts';

test('whatever is put into a page is text, unless it is HTML of our own', () => {
  const name = `<img src=x onerror="alert('1')"> & more`;
  const inner = html`<b>${name}</b>`;
  expect(inner.html).toBe('<b>&lt;img src=x onerror=&quot;alert(&#39;1&#39;)&quot;&gt; &amp; more</b>');
  expect(html`<i>${[inner, name, 7]}</i>`.html).toBe(`<i>${inner.html}\n${inner.html.slice(3, -4)}\n7</i>`);
  expect(page(name, inner)).not.toContain('<img');
});
