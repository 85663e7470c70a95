// The widgets' own fonts lie beside this script, not beside the page.
require.config({ baseUrl: new URL(".", document.currentScript.src).href });
