from llmbench import plugins


class Compiled:
    class Options(plugins.Options):
        pass
