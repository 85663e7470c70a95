// The widgets' own fonts lie beside this script, not beside the page.
require.config({ baseUrl: new URL(".", document.currentScript.src).href });

// Widgets ask MathJax 2 to set the formulas in their labels. The site has MathJax 3, which knows no such queue, and its
// widgets have no formulas: the request goes nowhere instead of raising.
{
  let mathjax;
  const found = window.MathJax;
  Object.defineProperty(window, "MathJax", {
    configurable: true,
    get: () => mathjax,
    set: (value) => { mathjax = value && Object.assign(value, { Hub: { Queue() {} } }); },
  });
  window.MathJax = found;
}
