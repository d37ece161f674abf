"""Ways by which code gets hold of a module without, or in spite of, a check of its text. Each defines `get(name)`."""

from __future__ import annotations

import textwrap

_ROUTES = {
    "import statement by exec": """
        def get(name):
            scope = {}
            exec("import " + name + " as module", scope)
            return scope["module"]
        """,
    "__import__": """
        def get(name):
            return __import__(name, fromlist=["x"])
        """,
    "importlib": """
        import importlib
        def get(name):
            return importlib.import_module(name)
        """,
    "importlib internals": """
        import json
        def get(name):
            return json.__loader__.__class__.__init__.__globals__["_bootstrap"]._gcd_import(name)
        """,
    "sys.modules": """
        import sys
        def get(name):
            __import__(name)
            return sys.modules[name]
        """,
    "builtins of a module's globals": """
        import json
        def get(name):
            return json.loads.__globals__["__builtins__"]["__import__"](name, fromlist=["x"])
        """,
    "module attribute chain": """
        import json
        def get(name):
            return json.codecs.builtins.__import__(name, fromlist=["x"])
        """,
    "subclasses of object": """
        def get(name):
            for one in ().__class__.__base__.__subclasses__():
                if one.__name__ == "_wrap_close":
                    return one.__init__.__globals__["sys"].modules.get(name) or one.__init__.__builtins__["__import__"](
                        name, fromlist=["x"])
        """,
    "attribute names in pieces": """
        def get(name):
            builtins = getattr((lambda: 0), "__glo" + "bals__")["__buil" + "tins__"]
            found = builtins if isinstance(builtins, dict) else vars(builtins)
            return found["__imp" + "ort__"](name, fromlist=["x"])
        """,
    "eval of character codes": """
        def get(name):
            text = "".join(map(chr, (95, 95, 105, 109, 112, 111, 114, 116, 95, 95)))
            return eval(text)(name, fromlist=["x"])
        """,
    "compiled code in a function type": """
        import types
        def get(name):
            code = compile(f"import {name} as m; found.append(m)", "x", "exec")
            found = []
            types.FunctionType(code, {"found": found, "__builtins__": __builtins__})()
            return found[0]
        """,
    "base64": """
        import base64
        def get(name):
            scope = {"name": name}
            exec(base64.b64decode(b"bW9kdWxlID0gX19pbXBvcnRfXyhuYW1lLCBmcm9tbGlzdD1bIngiXSk="), scope)
            return scope["module"]
        """,
    "rot13": """
        import codecs
        def get(name):
            return eval(codecs.decode("__vzcbeg__", "rot13"))(name, fromlist=["x"])
        """,
    "a frame": """
        import sys
        def get(name):
            return sys._getframe(1).f_builtins["__import__"](name, fromlist=["x"])
        """,
    "a traceback": """
        def get(name):
            try:
                1 / 0
            except ZeroDivisionError as error:
                return error.__traceback__.tb_frame.f_builtins["__import__"](name, fromlist=["x"])
        """,
    "a generator's frame": """
        def get(name):
            frame = (i for i in ()).gi_frame
            return frame.f_builtins["__import__"](name, fromlist=["x"])
        """,
    "a coroutine's frame": """
        def get(name):
            async def wait(): pass
            one = wait()
            found = one.cr_frame.f_builtins["__import__"](name, fromlist=["x"])
            one.close()
            return found
        """,
    "pickle": """
        import pickle
        class Load:
            def __init__(self, name): self.name = name
            def __reduce__(self): return (__import__, (self.name, None, None, ["x"]))
        def get(name):
            return pickle.loads(pickle.dumps(Load(name)))
        """,
    "pickle written by hand": """
        import pickle
        def get(name):
            return pickle.loads(b"cimportlib\\nimport_module\\n(V" + name.encode() + b"\\ntR.")
        """,
    "copy protocol": """
        import copy
        class Load:
            def __reduce_ex__(self, version): return (__import__, (self.name, None, None, ["x"]))
        def get(name):
            one = Load()
            one.name = name
            return copy.copy(one)
        """,
    "marshal": """
        import marshal
        def get(name):
            scope = {}
            exec(marshal.loads(marshal.dumps(compile(f"import {name} as m", "x", "exec"))), scope)
            return scope["m"]
        """,
    "a source file": """
        from importlib.machinery import SourceFileLoader
        def get(name):
            with open("made.py", "w") as file:
                file.write(f"import {name} as m")
            return SourceFileLoader("made", "made.py").load_module().m
        """,
    "a zip file": """
        import sys, zipfile
        def get(name):
            with zipfile.ZipFile("made.zip", "w") as file:
                file.writestr("zipped.py", f"import {name} as m")
            sys.path.insert(0, "made.zip")
            sys.modules.pop("zipped", None)
            import zipped
            return zipped.m
        """,
    "runpy": """
        import runpy
        def get(name):
            with open("made.py", "w") as file:
                file.write(f"import {name} as m")
            return runpy.run_path("made.py")["m"]
        """,
    "ctypes": """
        import ctypes
        def get(name):
            load = ctypes.pythonapi.PyImport_ImportModule
            load.restype = ctypes.py_object
            return load(name.encode())
        """,
    "a metaclass": """
        def get(name):
            class Meta(type):
                def __new__(cls, *parts):
                    made = super().__new__(cls, *parts)
                    made.module = __import__(name, fromlist=["x"])
                    return made
            class Network(metaclass=Meta): pass
            return Network.module
        """,
    "a finaliser": """
        def get(name):
            found = []
            class End:
                def __del__(self): found.append(__import__(name, fromlist=["x"]))
            End()
            return found[0]
        """,
    "a weak reference's callback": """
        import weakref
        def get(name):
            found = []
            class End: pass
            weakref.finalize(End(), lambda: found.append(__import__(name, fromlist=["x"])))
            return found[0]
        """,
    "an import hook": """
        import sys
        from importlib.machinery import ModuleSpec
        class Hook:
            def find_spec(self, name, path=None, target=None):
                return ModuleSpec(name, self) if name.startswith("hooked_") else None
            def create_module(self, spec): return __import__(spec.name.removeprefix("hooked_"), fromlist=["x"])
            def exec_module(self, module): pass
        def get(name):
            sys.meta_path.insert(0, Hook())
            return Hook().create_module(ModuleSpec("hooked_" + name, Hook()))
        """,
    "annotations": """
        import typing
        def get(name):
            def function(x: f"__import__('{name}', fromlist=['x'])"): pass
            function.__annotations__["x"] = f"(found.append(__import__('{name}', fromlist=['x'])), int)[1]"
            found = []
            typing.get_type_hints(function, {"found": found, "__builtins__": __builtins__})
            return found[0]
        """,
    "timeit": """
        import timeit
        def get(name):
            found = []
            timeit.timeit(f"found.append(m)", f"import {name} as m", number=1, globals={"found": found})
            return found[0]
        """,
    "an interactive interpreter": """
        import code
        def get(name):
            scope = {}
            code.InteractiveInterpreter(scope).runsource(f"import {name} as m")
            return scope["m"]
        """,
    "the garbage collector": """
        import gc, sys, types
        def get(name):
            __import__(name)
            found = gc.get_referents(sys.modules)
            return next(o for o in found if isinstance(o, types.ModuleType) and o.__name__ == name)
        """,
    "a thread": """
        import threading
        def get(name):
            found = []
            thread = threading.Thread(target=lambda: found.append(__import__(name, fromlist=["x"])))
            thread.start()
            thread.join()
            return found[0]
        """,
    "a signal handler": """
        import os, signal
        def get(name):
            found = []
            signal.signal(signal.SIGUSR1, lambda *_: found.append(__import__(name, fromlist=["x"])))
            os.kill(os.getpid(), signal.SIGUSR1)
            return found[0]
        """,
    "a timer's signal": """
        import signal, time
        def get(name):
            found = []
            signal.signal(signal.SIGALRM, lambda *_: found.append(__import__(name, fromlist=["x"])))
            signal.setitimer(signal.ITIMER_REAL, 0.001)
            while not found:
                time.sleep(0.001)
            return found[0]
        """,
    "a trace function": """
        import sys
        def get(name):
            found = []
            sys.settrace(lambda *_: found.append(__import__(name, fromlist=["x"])))
            (lambda: 0)()
            sys.settrace(None)
            return found[0]
        """,
    "pkgutil": """
        import pkgutil
        def get(name):
            return pkgutil.resolve_name(name)
        """,
    "pydoc": """
        import pydoc
        def get(name):
            return pydoc.locate(name)
        """,
    "logging configuration": """
        import logging.config
        def get(name):
            return logging.config.BaseConfigurator({}).resolve(name)
        """,
    "operator": """
        import operator, sys
        def get(name):
            load = operator.methodcaller("__getitem__", "__import__")(vars(sys.modules["builtins"]))
            return load(name, None, None, ["x"])
        """,
}

ROUTES = {name: textwrap.dedent(text).strip() + "\n" for name, text in _ROUTES.items()}
PLAIN = ROUTES["__import__"]
